#include <fmt/format.h>

#include <algorithm>

#include "motet/report/tasks.h"
#include "report/columns.h"
#include "report/tasks/shown.h"

namespace motet {
namespace {

using report::Column;
using report::column;

/// A figure with its interval.
std::string interval(const std::optional<double>& value, const std::optional<double>& low,
                     const std::optional<double>& high, const char* format) {
  if (!value) {
    return "-";
  }
  const auto one = [&](double x) { return fmt::format(fmt::runtime(format), x); };
  return low ? fmt::format("{} [{}, {}]", one(*value), one(*low), one(*high)) : one(*value);
}

Column<TaskRow> value(std::string title, Measured TaskRow::*figure, const char* format) {
  return {std::move(title), [=](const TaskRow& row) {
            const auto& one = row.*figure;
            return interval(one.value, one.low, one.high, format);
          }};
}

Column<TaskRow> minus_full(std::string title, Measured TaskRow::*figure, const char* format) {
  return {std::move(title), [=](const TaskRow& row) {
            const auto& one = row.*figure;
            return interval(one.minus_full, one.minus_full_low, one.minus_full_high, format);
          }};
}

Column<TaskRow> minus_parallel(std::string title, Measured TaskRow::*figure, const char* format) {
  return {std::move(title), [=](const TaskRow& row) {
            const auto& one = row.*figure;
            return interval(one.minus_parallel, one.minus_parallel_low, one.minus_parallel_high,
                            format);
          }};
}

using Columns = std::vector<Column<TaskRow>>;

/// Which row it is.
Columns names() {
  return {column("task", &TaskRow::task, "{}"),
          {"mode", [](const TaskRow& row) { return label_of(row); }},
          {"P", [](const TaskRow& row) { return report::tasks::degree_text(row.pieces); }}};
}

/// The columns of figures, in blocks of what is read together.
std::vector<Columns> blocks(const std::vector<TaskRow>& rows) {
  using Row = TaskRow;
  std::vector<Columns> all;
  const auto any = [&](Measured Row::*figure) {
    return std::any_of(rows.begin(), rows.end(),
                       [&](const Row& row) { return (row.*figure).value.has_value(); });
  };
  // A figure, of how many items where not all have it, and less that of `parallel` and of `full`.
  const auto add = [&](const std::string& name, Measured Row::*figure, int64_t Row::*there) {
    const auto plain = value(name, figure, "{:.3f}");
    all.push_back({{name,
                    [plain, there](const Row& row) {
                      const auto text = plain.cell(row);
                      return row.*there == 0 || row.*there == row.items
                                 ? text
                                 : fmt::format("{} ({} items)", text, row.*there);
                    }},
                   minus_parallel(name + " - parallel", figure, "{:+.3f}"),
                   minus_full(name + " - full", figure, "{:+.3f}")});
  };
  add("nll", &Row::nll, &Row::items);
  all[0].insert(all[0].begin(), column("items", &Row::items, "{}"));
  if (any(&Row::score)) {
    add("score", &Row::score, &Row::outputs);
  }
  if (any(&Row::candidate_accuracy)) {
    add("candidates", &Row::candidate_accuracy, &Row::chosen);
  }
  auto& attention = all.emplace_back(Columns{value("entropy", &Row::entropy_query, "{:.3f}")});
  if (any(&Row::mass_gold)) {
    attention.push_back(value("gold mass", &Row::mass_gold, "{:.2f}"));
    attention.push_back(value("best is gold", &Row::best_is_gold, "{:.2f}"));
    attention.push_back({"chance", [](const Row& row) {
                           return row.gold_chance ? fmt::format("{:.2f}", *row.gold_chance) : "-";
                         }});
  }
  return all;
}

report::Grid grid_of(const std::vector<TasksRun>& runs) {
  std::vector<TaskRow> all;  // columns are those of all runs
  for (const auto& run : runs) {
    const auto rows = over_items(run.item_rows);
    all.insert(all.end(), rows.begin(), rows.end());
  }
  auto shown = names();
  for (const auto& block : blocks(all)) {
    shown.insert(shown.end(), block.begin(), block.end());
  }
  return report::grid_of_runs(runs, [&](const TasksRun& run) {
    auto grid = report::grid_of(shown, over_items(run.item_rows));
    grid.words = 2;
    return grid;
  });
}

}  // namespace

namespace report::tasks {

std::string columns_explained() {
  return "Means over items, [95 % intervals] by bootstrap over items, of five items and more; - "
         "parallel, - full:\nthe figure less that of the same items in that mode, and the same "
         "degree.\nnll of gold answers in nats a token; entropy of attention in nats, over the "
         "query's rows; gold mass:\nprobability of the pieces with the answer; best is gold: share "
         "of rows whose piece with the most\nprobability is one of them, and what chance makes "
         "it.\n";
}

}  // namespace report::tasks

std::string table_of(const TasksRun& run) {
  std::string text;
  const auto rows = over_items(run.item_rows);
  for (std::size_t first = 0; first < rows.size();) {
    auto last = first;
    while (last < rows.size() && rows[last].task == rows[first].task) {
      ++last;
    }
    const std::vector<TaskRow> task(rows.begin() + static_cast<std::ptrdiff_t>(first),
                                    rows.begin() + static_cast<std::ptrdiff_t>(last));
    text += report::tasks::title_of(task[0]) + "\n";
    for (const auto& block : blocks(task)) {
      auto shown = names();
      shown.erase(shown.begin());  // the task is the title
      shown.insert(shown.end(), block.begin(), block.end());
      text += report::text_of(report::grid_of(shown, task)) + "\n";
    }
    first = last;
  }
  for (const auto& one : entropy_correlations(run.item_rows)) {
    const auto said = [](const Interval& x) { return interval(x.value, x.low, x.high, "{:+.2f}"); };
    text += fmt::format("{}: rank correlation of entropy and loss over {} modes {}", one.task,
                        one.modes, said(one.nll));
    text += one.score.value ? ", of entropy and score " + said(one.score) + "\n" : "\n";
  }
  return text + "\n" + report::tasks::columns_explained();
}

std::string markdown_of(const std::vector<TasksRun>& runs) {
  return report::markdown_of(grid_of(runs));
}

std::string latex_of(const std::vector<TasksRun>& runs) { return report::latex_of(grid_of(runs)); }

std::string html_table_of(const TasksRun& run) { return report::html_of(grid_of({run})); }

std::string csv_of(const std::vector<TasksRun>& runs) {
  std::vector<report::Grid> grids;
  for (const auto& run : runs) {
    grids.push_back(report::figures_of(run.provenance, over_items(run.item_rows)));
  }
  return report::csv_of(grids);
}

}  // namespace motet
