#include <fmt/format.h>

#include <algorithm>

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

}  // namespace

Picture entropy_picture(const Shown& run, const Styles& styles) {
  constexpr double kHeight = 210;
  constexpr std::size_t kColumns = 3;
  const auto width = (kWidth - kColumns * (kMargin + 14)) / kColumns;
  Drawing drawing;
  auto y = draw_legend(drawing, {kMargin, 12}, run.labels, styles) + 4;
  std::size_t column = 0;
  for (const auto& task : run.tasks) {
    Range x, loss;
    for (const auto* row : task.rows) {
      x.add(*row->entropy_query.value);
      loss.add(*row->nll.value);
    }
    const auto wide = std::max(0.06 * (x.high - x.low), 1e-3);
    const auto room = std::max(0.08 * (loss.high - loss.low), 1e-3);
    const Panel panel{{kMargin + static_cast<double>(column) * (width + kMargin + 14), y + 24},
                      width,
                      kHeight,
                      {x.low - wide, x.high + wide},
                      {loss.low - room, loss.high + room}};
    std::string correlation;
    for (const auto& one : run.correlations) {
      if (one.task == task.name) {
        correlation = said(one.nll);
      }
    }
    drawing.text({panel.corner.x, panel.corner.y - 10}, task.name, Anchor::kStart, 13,
                 "font-weight=\"bold\"");
    drawing.text({panel.corner.x + panel.width, panel.corner.y + 6}, correlation, Anchor::kEnd, 12);
    draw_y_axis(drawing, panel, "loss of the answer (nats a token)", 4);
    draw_x_axis(drawing, panel, "attention entropy (nats)", 5);
    for (const auto* row : task.rows) {
      drawing.marker(panel.at(*row->entropy_query.value, *row->nll.value),
                     styles.of(label_of(*row)),
                     fmt::format("{}, {}, P = {}: entropy {:.3f}, loss {:.3f} nats a token",
                                 task.name, label_of(*row), degree_text(row->pieces),
                                 *row->entropy_query.value, *row->nll.value));
      const auto beside = panel.at(*row->entropy_query.value, *row->nll.value);
      drawing.text({beside.x + 8, beside.y + 4}, degree_text(row->pieces), Anchor::kStart, 9);
    }
    if (++column == kColumns || &task == &run.tasks.back()) {
      column = 0;
      y += kHeight + 74;
    }
  }
  return {"task-entropy", "Does less entropy go with a better answer?",
          "Each mark is one mode at one degree, which stands beside it. ρ: Spearman's rank "
          "correlation of entropy and "
          "loss over the modes, with its 95 % interval over items; 1 where the entropies order the "
          "losses, as Zhang et al. 2025 (arXiv 2412.16545) have it, 0 where they say nothing.",
          drawing.document(kWidth, y)};
}

}  // namespace motet::report::tasks
