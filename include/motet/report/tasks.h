#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "motet/eval/tasks_run.h"
#include "motet/report/picture.h"

namespace motet {

/// The `run.json` of motet-eval: `rows` over all items, and `item_rows`.
nlohmann::ordered_json json_of(const TasksRun& run);

/// Writes `run.json`, whole or not at all. Throws Error.
void save_run(const TasksRun& run, const std::filesystem::path& path);

/// Reads what `save_run` wrote. Throws Error for a file that is damaged, of another schema or of
/// another program.
TasksRun load_tasks_run(const std::filesystem::path& path);

/// The run as plain text: for each task a line a mode, with 95 % intervals of each score and of its
/// difference from `full` and `parallel`; below, its units.
std::string table_of(const TasksRun& run);

/// The same columns of one or more runs, as `markdown_of` of runs of motet-compare has them.
std::string markdown_of(const std::vector<TasksRun>& runs);
/// As markdown_of, in LaTeX with the package booktabs.
std::string latex_of(const std::vector<TasksRun>& runs);
/// Every figure of every row that is a single value, in full precision.
std::string csv_of(const std::vector<TasksRun>& runs);

}  // namespace motet
