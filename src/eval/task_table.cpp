#include "eval/task_table.h"

#include <algorithm>
#include <map>

namespace motet {
namespace {

bool same_mode(const ItemRow& a, const ItemRow& b) {
  return a.mode == b.mode && a.reading == b.reading && a.pieces == b.pieces &&
         (a.prefix_tokens > 0) == (b.prefix_tokens > 0);
}

}  // namespace

std::vector<TaskTable> task_tables(const std::vector<ItemRow>& item_rows) {
  std::vector<TaskTable> tables;
  std::vector<std::map<std::string, std::size_t>> places;  // of items, by table
  for (const auto& row : item_rows) {
    auto table = std::find_if(tables.begin(), tables.end(),
                              [&](const TaskTable& known) { return known.name == row.task; });
    if (table == tables.end()) {
      table = tables.insert(tables.end(), {row.task, 0, {}});
      places.emplace_back();
    }
    auto& items = places[table - tables.begin()];
    const auto place = items.emplace(row.id, items.size()).first->second;
    auto mode = std::find_if(table->modes.begin(), table->modes.end(),
                             [&](const ModeRows& known) { return same_mode(*known.first, row); });
    if (mode == table->modes.end()) {
      mode = table->modes.insert(table->modes.end(), {&row, {}});
    }
    mode->items.resize(std::max(mode->items.size(), place + 1), nullptr);
    mode->items[place] = &row;
  }
  for (std::size_t i = 0; i < tables.size(); ++i) {
    tables[i].items = static_cast<int64_t>(places[i].size());
    for (auto& mode : tables[i].modes) {
      mode.items.resize(places[i].size(), nullptr);
    }
  }
  return tables;
}

ItemFigure nll_of(const ModeRows& mode) {
  ItemFigure figure;
  for (const auto* row : mode.items) {
    figure.add(row != nullptr ? row->answer_nll : 0,
               row != nullptr ? static_cast<double>(row->answer_tokens) : 0);
  }
  return figure;
}

}  // namespace motet
