#include "report/page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "motet/report/tasks.h"
#include "report/tasks/shown.h"

namespace motet {
namespace report::tasks {
namespace {

/// A column of the paper's tables: "icl", "icl, K = 2 + prefix".
std::string column_of(const GroupCell& cell) {
  return cell.group + (cell.selected > 0 ? fmt::format(", K = {}", cell.selected) : "") +
         (cell.prefix ? " + prefix" : "");
}

std::string text_of(const Interval& interval, double (*of)(double), const char* format) {
  if (!interval.value) {
    return "-";
  }
  const auto one = [&](double x) { return fmt::format(fmt::runtime(format), of(x)); };
  return interval.low ? fmt::format("{} [{}, {}]", one(*interval.value), one(*interval.low),
                                    one(*interval.high))
                      : one(*interval.value);
}

}  // namespace

std::vector<std::pair<std::string, Grid>> paper_grids(const TasksRun& run) {
  const auto cells = group_cells(run.item_rows);
  std::vector<std::string> columns;
  std::vector<int64_t> degrees;
  for (const auto& cell : cells) {
    if (std::find(columns.begin(), columns.end(), column_of(cell)) == columns.end()) {
      columns.push_back(column_of(cell));
    }
    if (std::find(degrees.begin(), degrees.end(), cell.pieces) == degrees.end()) {
      degrees.push_back(cell.pieces);
    }
  }
  std::sort(degrees.begin(), degrees.end(), [](int64_t a, int64_t b) {
    return (a == 0 ? INT64_MAX : a) < (b == 0 ? INT64_MAX : b);  // a unit a piece last
  });
  const auto grid = [&](Interval GroupCell::*figure, double (*of)(double), const char* format) {
    Grid table{{"P"}, {}};
    table.columns.insert(table.columns.end(), columns.begin(), columns.end());
    for (const auto degree : degrees) {
      auto& row = table.rows.emplace_back();
      row.push_back(degree_text(degree));
      for (const auto& column : columns) {
        const auto cell = std::find_if(cells.begin(), cells.end(), [&](const GroupCell& one) {
          return one.pieces == degree && column_of(one) == column;
        });
        row.push_back(cell == cells.end() ? "-" : text_of((*cell).*figure, of, format));
      }
    }
    return table;
  };
  constexpr auto kSame = [](double x) { return x; };
  return {{"Perplexity of the gold answers",
           grid(
               &GroupCell::log_perplexity, [](double x) { return std::exp(x); }, "{:.2f}")},
          {"Score x 100", grid(
                              &GroupCell::score, [](double x) { return 100 * x; }, "{:.1f}")},
          {"Attention entropy", grid(&GroupCell::entropy, kSame, "{:.3f}")}};
}

namespace {

/// What stands below the table of figures.
std::string figures_explained(const TasksRun& run) {
  std::string text;
  std::set<std::string> told;
  for (const auto& row : run.item_rows) {
    if (told.insert(row.task).second) {
      text += svg::escaped(title_of(row)) + "<br>\n";
    }
  }
  return "<p class=\"caption\">" + text + svg::escaped(columns_explained()) + "</p>\n";
}

std::string summary_of(const TasksRun& run) {
  Summary summary;
  summary.add("model", run.provenance.model.name);
  summary.add("tasks", fmt::format("{}", fmt::join(run.tasks, ", ")));
  std::map<std::string, std::set<std::string>> items;
  std::set<std::string> layouts;
  for (const auto& row : run.item_rows) {
    items[row.task].insert(row.id);
    layouts.insert(row.layout);
  }
  std::vector<std::string> counts;
  for (const auto& [task, ids] : items) {
    counts.push_back(fmt::format("{} of {}", ids.size(), task));
  }
  summary.add("items", fmt::format("{}{}{}", fmt::join(counts, ", "),
                                   run.outputs ? fmt::format("; at most {} of each with an output",
                                                             *run.outputs)
                                               : std::string(),
                                   run.complete() ? "" : "; not all of them done so far"));
  summary.add("layout", fmt::format("{}; items that are made have {} tokens at most",
                                    fmt::join(layouts, ", "), run.length));
  summary.add("positions", std::string(name_of(run.options.positions)));
  summary.add("decoding", run.options.full_length ? "greedy, of full length" : "greedy");
  for (const auto& one : run.left_out) {
    summary.add("left out", fmt::format("{}, P = {}: {}", one.mode, one.pieces, one.reason));
  }
  if (!run.items_left_out.empty()) {
    const auto& first = run.items_left_out[0];
    std::set<std::pair<std::string, std::string>> short_of_a_mode;
    for (const auto& one : run.items_left_out) {
      short_of_a_mode.emplace(one.task, one.id);
    }
    summary.add("left out", fmt::format("{} items in some mode, the first: {} {}, {}, P = {}: {}",
                                        short_of_a_mode.size(), first.task, first.id, first.mode,
                                        first.pieces, first.reason));
  }
  summary.add_provenance(run.provenance);
  return summary.html();
}

}  // namespace
}  // namespace report::tasks

std::vector<Picture> pictures_of(const TasksRun& run) {
  using namespace report::tasks;
  const auto all = shown(run);
  const report::Styles styles(all.labels);
  std::vector<Picture> pictures{score_picture(all, styles)};
  for (const auto& more :
       {entropy_pictures(all, styles), depth_pictures(all), gold_pictures(all)}) {
    pictures.insert(pictures.end(), more.begin(), more.end());
  }
  return pictures;
}

std::string paper_tables_of(const TasksRun& run, const std::string& format) {
  std::string text;
  for (const auto& [title, grid] : report::tasks::paper_grids(run)) {
    text += format == "markdown" ? fmt::format("**{}**\n\n{}\n", title, report::markdown_of(grid))
            : format == "latex"  ? fmt::format("% {}\n{}\n", title, report::latex_of(grid))
            : format == "csv"    ? fmt::format("{}\n{}\n", title, report::csv_of({grid}))
                                 : fmt::format("{}\n{}\n", title, report::text_of(grid));
  }
  return text;
}

std::string html_of(const TasksRun& run) {
  std::string rest =
      "<h2>The paper's tables</h2>\n<p class=\"caption\">Rows are degrees P, columns groups of "
      "tasks, with K pieces kept and with the prefix; cells are unweighted means over the tasks of "
      "a group, with 95 % intervals over items. Other readings are in the figures below.</p>\n";
  for (const auto& [title, grid] : report::tasks::paper_grids(run)) {
    rest += "<h3>" + title + "</h3>\n" + report::scrolling(report::html_of(grid));
  }
  return report::page_of(fmt::format("{} in tasks", run.provenance.model.name),
                         "What reading a context in pieces does to answers, and whether attention "
                         "entropy tells. Point "
                         "at a mark for its values.",
                         pictures_of(run),
                         rest + "<h2>Figures</h2>\n" + report::scrolling(html_table_of(run)) +
                             report::tasks::figures_explained(run) +
                             report::tasks::outputs_of(run) + "<h2>The run</h2>\n" +
                             report::tasks::summary_of(run));
}

}  // namespace motet
