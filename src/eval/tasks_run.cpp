#include "motet/eval/tasks_run.h"

namespace motet {

std::set<std::pair<std::string, std::string>> TasksRun::done() const {
  std::set<std::pair<std::string, std::string>> items;
  for (const auto& row : item_rows) {
    items.emplace(row.task, row.id);
  }
  for (const auto& one : items_left_out) {  // perhaps in every mode
    items.emplace(one.task, one.id);
  }
  return items;
}

}  // namespace motet
