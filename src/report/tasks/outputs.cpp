#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "report/page.h"
#include "report/svg.h"
#include "report/tasks/shown.h"

namespace motet::report::tasks {
namespace {

constexpr std::size_t kItems = 3, kCharacters = 60;

/// A text on one line, its white space but for single blanks shown, and cut where it is long.
std::string line_of(const std::string& text) {
  std::string line;
  std::size_t characters = 0;
  for (const char byte : text) {
    if ((static_cast<unsigned char>(byte) & 0xC0U) != 0x80 && characters++ == kCharacters) {
      return line + "…";
    }
    line += byte == '\n' ? "↵" : byte == '\t' ? "→" : std::string(1, byte);
  }
  return line;
}

/// A row a mode, a column for each of the first items that have an output.
Grid grid_of(const std::vector<const ItemRow*>& rows) {
  Grid grid{{"mode", "P"}, {}};
  std::vector<std::string> items;
  std::map<std::tuple<std::string, std::string, int64_t, bool>, std::size_t> modes;
  for (const auto* row : rows) {
    auto item =
        static_cast<std::size_t>(std::find(items.begin(), items.end(), row->id) - items.begin());
    if (item == items.size()) {
      if (items.size() == kItems) {
        continue;
      }
      items.push_back(row->id);
      grid.columns.push_back(fmt::format(
          "{}: {}", row->id, line_of(fmt::format("{}", fmt::join(*row->answers, ", ")))));
    }
    const auto [mode, is_new] = modes.try_emplace(
        {row->mode, row->reading, row->pieces, row->prefix_tokens > 0}, grid.rows.size());
    if (is_new) {
      grid.rows.push_back({label_of(*row), degree_text(row->pieces)});
    }
    auto& cells = grid.rows[mode->second];
    cells.resize(2 + item, "-");
    cells.push_back(fmt::format("{:.2g}: {}", *row->score, line_of(*row->output)));
  }
  for (auto& cells : grid.rows) {
    cells.resize(grid.columns.size(), "-");
  }
  grid.words = grid.columns.size();
  return grid;
}

}  // namespace

std::string outputs_of(const TasksRun& run) {
  std::vector<std::string> tasks;
  std::map<std::string, std::vector<const ItemRow*>> rows;
  for (const auto& row : run.item_rows) {
    if (row.output && row.answers) {
      auto& of_task = rows[row.task];
      if (of_task.empty()) {
        tasks.push_back(row.task);
      }
      of_task.push_back(&row);
    }
  }
  if (tasks.empty()) {
    return "";
  }
  auto text = fmt::format(
      "<h2>Outputs</h2>\n<p class=\"caption\">Of the first {} items of a task: score, and what the "
      "model said. A line break is ↵; … stands where more than {} characters were said, which "
      "run.json has. The heading is the item and its answers.</p>\n",
      kItems, kCharacters);
  for (const auto& task : tasks) {
    text += fmt::format("<details{}><summary>{}</summary>\n{}</details>\n",
                        task == tasks[0] ? " open" : "", svg::escaped(task),
                        scrolling(html_of(grid_of(rows[task]))));
  }
  return text;
}

}  // namespace motet::report::tasks
