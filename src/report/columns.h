#pragma once

#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "motet/eval/fields.h"
#include "motet/eval/provenance.h"
#include "report/grid.h"
#include "report/row_json.h"

/// Tables of rows: the columns that a task chooses, or all that are single values.
namespace motet::report {

/// A column of a table.
template <class Row>
struct Column {
  std::string title;
  std::function<std::string(const Row&)> cell;
};

/// A column of one figure; `-` where it cannot be had.
template <class Row, class Value>
Column<Row> column(std::string title, Value Row::*value, std::string format) {
  return {std::move(title), [value, format = std::move(format)](const Row& row) {
            const std::optional one = row.*value;
            return one ? fmt::format(fmt::runtime(format), *one) : std::string("-");
          }};
}

/// The table of some rows.
template <class Row>
Grid grid_of(const std::vector<Column<Row>>& columns, const std::vector<Row>& rows) {
  Grid grid;
  for (const auto& column : columns) {
    grid.columns.push_back(column.title);
  }
  for (const auto& row : rows) {
    auto& cells = grid.rows.emplace_back();
    for (const auto& column : columns) {
      cells.push_back(column.cell(row));
    }
  }
  return grid;
}

/// The tables of some runs as one, which names the runs where there are several; `grid_of` makes a
/// run's.
template <class Run, class GridOf>
Grid grid_of_runs(const std::vector<Run>& runs, const GridOf& grid_of) {
  std::vector<Grid> grids;
  std::vector<std::string> names;
  for (const auto& run : runs) {
    grids.push_back(grid_of(run));
    names.push_back(fmt::format("{}, {}", run.provenance.model.name, run.provenance.data.name));
  }
  return joined(grids, told_apart(names));
}

/// Every figure of these rows that is a single value, in full precision, behind the names of model
/// and text.
template <class Row>
Grid figures_of(const Provenance& provenance, const std::vector<Row>& rows) {
  Grid grid{{"model", "data"}, {}};
  const auto visit = [](auto add) {
    if constexpr (requires { Row::kTask; }) {
      add("task", [](const Row&) { return nlohmann::ordered_json(Row::kTask); });
    }
    for_each_figure<Row>([&]<class Value, Join kJoin>(const Figure<Row, Value, kJoin>& one) {
      constexpr bool is_single = std::is_same_v<Value, std::string> ||
                                 std::is_convertible_v<Value, std::optional<double>> ||
                                 std::is_convertible_v<Value, std::optional<int64_t>>;
      if constexpr (kIsFlat<Value>) {
        for_each_figure<Value>([&](const auto& figure) {
          add(one.name + std::string(figure.name),
              [&](const Row& row) { return json_of(row.*one.value.*figure.value); });
        });
      } else if constexpr (is_single && kJoin != Join::kItem) {
        add(one.name, [&](const Row& row) { return json_of(row.*one.value); });
      }
    });
  };
  visit([&](const std::string& name, const auto&) { grid.columns.push_back(name); });
  for (const auto& row : rows) {
    auto& cells = grid.rows.emplace_back(std::vector{provenance.model.name, provenance.data.name});
    visit([&](const std::string&, const auto& value_of) {
      const auto value = value_of(row);
      cells.push_back(value.is_null()     ? ""
                      : value.is_string() ? value.template get<std::string>()
                                          : value.dump());
    });
  }
  return grid;
}

/// The figures of some runs' rows, joined over segments, as comma-separated values.
template <class Run>
std::string csv_of_runs(const std::vector<Run>& runs) {
  std::vector<Grid> grids;
  for (const auto& run : runs) {
    grids.push_back(figures_of(run.provenance, over_segments(run.segment_rows)));
  }
  return csv_of(grids);
}

}  // namespace motet::report
