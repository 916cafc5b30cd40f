#include "report/tasks/shown.h"

#include <algorithm>
#include <set>

#include "motet/error.h"

namespace motet::report::tasks {

Shown shown(const TasksRun& run) {
  Shown shown{&run, over_items(run.item_rows), {}, {}, {}, entropy_correlations(run.item_rows)};
  require(!shown.rows.empty(), "motet::pictures_of: the run of ", run.provenance.data.name,
          " has no item yet; ", Field("resume"), " it first");
  std::set<int64_t> degrees;
  for (const auto& row : shown.rows) {
    auto task = std::find_if(shown.tasks.begin(), shown.tasks.end(),
                             [&](const ShownTask& known) { return known.name == row.task; });
    if (task == shown.tasks.end()) {
      task = shown.tasks.insert(shown.tasks.end(), {row.task, {}});
    }
    task->rows.push_back(&row);
    const auto label = label_of(row);
    if (std::find(shown.labels.begin(), shown.labels.end(), label) == shown.labels.end()) {
      shown.labels.push_back(label);
    }
    degrees.insert(row.pieces);
  }
  shown.degrees.assign(degrees.begin(), degrees.end());
  if (shown.degrees[0] == TasksOptions::kUnits) {
    std::rotate(shown.degrees.begin(), shown.degrees.begin() + 1, shown.degrees.end());
  }
  return shown;
}

double place_of(const Shown& run, int64_t degree) {
  return static_cast<double>(std::find(run.degrees.begin(), run.degrees.end(), degree) -
                             run.degrees.begin());
}

std::string degree_text(int64_t degree) {
  return degree == TasksOptions::kUnits ? "units" : std::to_string(degree);
}

}  // namespace motet::report::tasks
