#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "motet/eval/record.h"
#include "motet/eval/tasks_run.h"
#include "motet/report/picture.h"

namespace motet {

/// What a run.json of motet-eval has of a run.
enum class TasksPart {
  kAll,    ///< `item_rows`, and what follows from them: `rows` over all items, `correlations`
  kItems,  ///< without those, which take longer the more items there are: while a run goes on
};

/// The `run.json` of motet-eval.
nlohmann::ordered_json json_of(const TasksRun& run, TasksPart part = TasksPart::kAll);

/// Writes `run.json`, whole or not at all. Throws Error.
void save_run(const TasksRun& run, const std::filesystem::path& path,
              TasksPart part = TasksPart::kAll);

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
/// As markdown_of, in HTML, of one run.
std::string html_table_of(const TasksRun& run);
/// Every figure of every row that is a single value, in full precision.
std::string csv_of(const std::vector<TasksRun>& runs);

/// The paper's three tables (perplexity, score, entropy: rows are degrees, columns groups of tasks,
/// selection and prefix; see group_cells), in `text`, `markdown`, `latex` or `csv`.
std::string paper_tables_of(const TasksRun& run, const std::string& format);

/// Score, loss and entropy of every mode against the degree; loss against entropy, with a rank
/// correlation; where items say so, the loss by the depth of the answer, and the heads that find
/// it. Throws Error for a run without rows.
std::vector<Picture> pictures_of(const TasksRun& run);

/// One self-contained page with the pictures and the tables: no network, no script.
std::string html_of(const TasksRun& run);

/// Predictions for RULER's scorer (evaluate.py): `MODE/TASK.jsonl` in the directory, a line an item
/// with `index`, `input`, `outputs` (references), `pred` and `others`; items without an output are
/// left out. `records` are those of the run's items, in any order, with the
/// prefix that modes put before them; a row without one is an error.
/// Returns how many files. Throws Error.
int64_t save_for_ruler(const TasksRun& run, const std::vector<TaskRecord>& records,
                       const std::filesystem::path& directory);

/// Results as HELMET's eval.py leaves them, for its collect_results.py: `MODE/NAME.json` (`args`,
/// `data`, `metrics`, `averaged_metrics`) and `NAME.json.score`, whose NAME says what that script
/// looks for. Metrics have HELMET's names where it has the rule. Otherwise as save_for_ruler.
int64_t save_for_helmet(const TasksRun& run, const std::vector<TaskRecord>& records,
                        const std::filesystem::path& directory);

}  // namespace motet
