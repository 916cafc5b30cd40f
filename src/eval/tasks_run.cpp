#include "motet/eval/tasks_run.h"

#include <map>
#include <tuple>

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

std::vector<const TaskItem*> TasksRun::drop_incomplete(const std::vector<TaskItem>& items) {
  using Name = std::pair<std::string, std::string>;
  using ModeKey = std::tuple<std::string, int64_t, bool>;
  std::map<Name, std::vector<ModeKey>> there;
  for (const auto& name : done()) {
    there[name];
  }
  for (const auto& row : item_rows) {
    there[{row.task, row.id}].emplace_back(row.reading, row.pieces, row.prefix_tokens > 0);
  }
  std::vector<const TaskItem*> dropped;
  std::set<Name> names;
  for (const auto& item : items) {
    const auto found = there.find({item.record.task, item.record.id});
    if (found == there.end()) {
      continue;
    }
    const auto& modes = found->second;
    const std::set<ModeKey> distinct(modes.begin(), modes.end());
    if (modes.size() != item.modes.size() || distinct.size() != modes.size()) {
      dropped.push_back(&item);
      names.insert(found->first);
    }
  }
  std::erase_if(item_rows, [&](const ItemRow& row) { return names.contains({row.task, row.id}); });
  std::erase_if(items_left_out, [&](const ItemLeftOut& one) {
    return names.contains({one.task, one.id});
  });
  return dropped;
}

}  // namespace motet
