#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "motet/eval/tasks_run.h"
#include "motet/report/picture.h"
#include "report/grid.h"
#include "report/legend.h"

/// A run of motet-eval as it is shown, and its pictures.
namespace motet::report::tasks {

constexpr double kMargin = 62;

/// A task's rows, in the order of the run.
struct ShownTask {
  std::string name;
  std::vector<const TaskRow*> rows;
};

/// A run as pictures take it. Tasks point into rows: not to be copied.
struct Shown {
  const TasksRun* run;
  std::vector<TaskRow> rows;
  std::vector<ShownTask> tasks;
  std::vector<std::string> labels;  // of modes, each once
  std::vector<int64_t> degrees;     // rising; a unit a piece (0) last
  std::vector<TaskCorrelation> correlations;
};

/// Throws Error for a run without rows.
Shown shown(const TasksRun& run);
/// Where a degree stands among `degrees`.
double place_of(const Shown& run, int64_t degree);
/// "4", or "units".
std::string degree_text(int64_t degree);

/// Score, loss and entropy of every mode against the degree.
Picture score_picture(const Shown& run, const Styles& styles);
/// Loss of every mode against its entropy, and score where items have one.
std::vector<Picture> entropy_pictures(const Shown& run, const Styles& styles);
/// The loss by the depth of the answer, where items say it; no picture where none does.
std::vector<Picture> depth_pictures(const Shown& run);
/// Heads whose best piece holds the answer, where items say it; no picture where none does.
std::vector<Picture> gold_pictures(const Shown& run);

/// "niah: score found, prompt pce", of a row of a task or of an item.
template <class Row>
std::string title_of(const Row& row) {
  return row.task + ": score " + row.rule + ", prompt " + row.layout;
}
/// What the columns of the table of figures are, in lines.
std::string columns_explained();

/// What modes answered, item by item, as HTML; nothing where items have no output.
std::string outputs_of(const TasksRun& run);

/// The paper's three tables.
std::vector<std::pair<std::string, Grid>> paper_grids(const TasksRun& run);

}  // namespace motet::report::tasks
