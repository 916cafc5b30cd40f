#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "motet/eval/provenance.h"
#include "motet/eval/tasks.h"

namespace motet {

/// Everything that motet-eval leaves behind.
struct TasksRun {
  /// The version of the document; 2: candidates are ended, as TaskItem::candidates says.
  static constexpr int64_t kSchema = 2;
  static constexpr const char* kProgram = "motet-eval";  ///< whose document it is

  Provenance provenance;                    ///< how it came about; its data are the files of tasks
  std::vector<std::string> tasks;           ///< as they were asked for
  std::string layout;                       ///< of prompts that are made: pce or helmet
  std::optional<std::string> chat;          ///< before each item that is a user's message
  int64_t length = 0;                       ///< of generated items, tokens
  TasksOptions options;                     ///< the configuration
  int64_t items = 0;                        ///< of each task that were asked for; may grow
  std::optional<int64_t> outputs;           ///< of them, with an output; nothing: all
  int64_t items_there = 0;                  ///< of all tasks
  std::vector<LeftOut> left_out;            ///< modes of the run that could not be
  std::vector<ItemLeftOut> items_left_out;  ///< and of single items
  std::vector<ItemRow> item_rows;           ///< of each item that is done, each mode

  /// Task and id of the items that are done.
  std::set<std::pair<std::string, std::string>> done() const;
  /// Takes out what there is of items that lack a row of a mode, or have one twice: a file that was
  /// edited, not one that was interrupted. Returns the items, for their names.
  std::vector<const TaskItem*> drop_incomplete(const std::vector<TaskItem>& items);
  /// Whether all items are there: false while it runs, and after an interruption.
  bool complete() const { return static_cast<int64_t>(done().size()) == items_there; }
};

}  // namespace motet
