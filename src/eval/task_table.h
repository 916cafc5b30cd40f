#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "motet/eval/intervals.h"
#include "motet/eval/task_row.h"

namespace motet {

/// The rows of a task's items in one mode; null where an item was not read in it.
struct ModeRows {
  const ItemRow* first;
  std::vector<const ItemRow*> items;
};

/// A task: its items, in the order of their first appearance, and its modes.
struct TaskTable {
  std::string name;
  int64_t items = 0;
  std::vector<ModeRows> modes;
};

/// Rows by task, mode and item. They point into `item_rows`.
std::vector<TaskTable> task_tables(const std::vector<ItemRow>& item_rows);

/// A figure of every item of a mode. `value` gives a number, or an optional one.
template <class Value>
ItemFigure figure_of(const ModeRows& mode, const Value& value) {
  ItemFigure figure;
  for (const auto* row : mode.items) {
    figure.add(row != nullptr ? std::optional<double>(value(*row)) : std::nullopt);
  }
  return figure;
}

/// The loss of gold answers, over their tokens.
ItemFigure nll_of(const ModeRows& mode);

}  // namespace motet
