#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <vector>

#include "report/panel.h"
#include "report/tasks/shown.h"

namespace motet::report::tasks {

using svg::Anchor;
using svg::Drawing;

namespace {

std::string said(const Interval& correlation) {
  if (!correlation.value) {
    return "";
  }
  return correlation.low ? fmt::format("ρ = {:.2f} [{:.2f}, {:.2f}]", *correlation.value,
                                       *correlation.low, *correlation.high)
                         : fmt::format("ρ = {:.2f}", *correlation.value);
}

/// What is drawn against an entropy, and their correlation.
struct Axes {
  Measured TaskRow::*entropy;
  Measured TaskRow::*figure;
  Interval TaskCorrelation::*correlation;
  const char* name;       // of the figure, in tips
  const char* y_axis;     // with its unit
  bool is_share = false;  // from 0 to 1
};

/// The rows of a task that have both.
std::vector<const TaskRow*> rows_with(const ShownTask& task, const Axes& axes) {
  std::vector<const TaskRow*> rows;
  std::copy_if(
      task.rows.begin(), task.rows.end(), std::back_inserter(rows),
      [&](const TaskRow* row) { return (row->*axes.entropy).value && (row->*axes.figure).value; });
  return rows;
}

std::string drawn(const Shown& run, const Styles& styles, const Axes& axes) {
  constexpr double kHeight = 210;
  constexpr std::size_t kColumns = 3;
  const auto width = (kWidth - kColumns * (kMargin + 14)) / kColumns;
  Drawing drawing;
  auto y = draw_legend(drawing, {kMargin, 12}, run.labels, styles) + 4;
  std::size_t column = 0;
  for (const auto& task : run.tasks) {
    const auto rows = rows_with(task, axes);
    if (rows.empty()) {
      continue;
    }
    if (column == kColumns) {
      column = 0;
      y += kHeight + 88;
    }
    Range entropies, figures;
    for (const auto* row : rows) {
      entropies.add(*(row->*axes.entropy).value);
      figures.add(*(row->*axes.figure).value);
    }
    if (axes.is_share) {
      figures.add(0);
      figures.add(0.1);  // so that all zeros are a line at the floor
    }
    const auto wide = std::max(0.06 * (entropies.high - entropies.low), 1e-3);
    const auto room = std::max(0.08 * (figures.high - figures.low), 1e-3);
    const Panel panel{{kMargin + static_cast<double>(column) * (width + kMargin + 14), y + 38},
                      width,
                      kHeight,
                      {entropies.low - wide, entropies.high + wide},
                      {figures.low - room, figures.high + room}};
    std::string correlation;
    for (const auto& one : run.correlations) {
      if (one.task == task.name) {
        correlation = said(one.*axes.correlation);
      }
    }
    drawing.text({panel.corner.x, panel.corner.y - 24}, task.name, Anchor::kStart, 13,
                 "font-weight=\"bold\"");
    drawing.text({panel.corner.x, panel.corner.y - 8}, correlation);
    draw_y_axis(drawing, panel, axes.y_axis, 4);
    draw_x_axis(drawing, panel, "attention entropy (nats)", 5);
    for (const auto* row : rows) {
      const auto entropy = *(row->*axes.entropy).value;
      const auto figure = *(row->*axes.figure).value;
      const auto at = panel.at(entropy, figure);
      const auto degree = degree_text(row->pieces);
      drawing.marker(at, styles.of(label_of(*row)),
                     fmt::format("{}, {}, P = {}: entropy {:.3f}, {} {:.3f}", task.name,
                                 label_of(*row), degree, entropy, axes.name, figure));
      drawing.text({at.x + 8, at.y + 4}, degree, Anchor::kStart, 9);
    }
    ++column;
  }
  return drawing.document(kWidth, y + kHeight + 88);
}

}  // namespace

std::vector<Picture> entropy_pictures(const Shown& run, const Styles& styles) {
  std::vector<Picture> pictures;
  pictures.push_back(
      {"task-entropy", "Does less entropy go with a better answer?",
       "Each mark is one mode at one degree, which stands beside it. ρ: Spearman's rank "
       "correlation of entropy and "
       "loss over the modes, with its 95 % interval over items; 1 where the entropies order the "
       "losses, as Zhang et al. 2025 (arXiv 2412.16545) have it, 0 where they say nothing.",
       drawn(run, styles,
             {&TaskRow::entropy_query, &TaskRow::nll, &TaskCorrelation::nll, "loss",
              "loss of the answer (nats a token)"})});
  const Axes scores{
      &TaskRow::entropy_pce, &TaskRow::score, &TaskCorrelation::score, "score", "score", true};
  if (std::any_of(run.tasks.begin(), run.tasks.end(),
                  [&](const ShownTask& task) { return !rows_with(task, scores).empty(); })) {
    pictures.push_back(
        {"task-entropy-score", "And with a better score?",
         "The same of the items with an output: their score against the mean entropy "
         "of the query's call and those of their tokens, as the paper takes it. Here "
         "ρ is -1 where less entropy goes with a better score.",
         drawn(run, styles, scores)});
  }
  return pictures;
}

}  // namespace motet::report::tasks
