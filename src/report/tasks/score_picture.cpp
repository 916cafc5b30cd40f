#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "report/panel.h"
#include "report/tasks/shown.h"

namespace motet::report::tasks {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

struct Curve {
  std::string title;
  Measured TaskRow::*figure;
  bool is_share = false;  // from 0 to 1
};

/// The figures that a task has, at most three.
std::vector<Curve> curves_of(const ShownTask& task) {
  const auto any = [&](Measured TaskRow::*figure) {
    return std::any_of(task.rows.begin(), task.rows.end(),
                       [&](const TaskRow* row) { return (row->*figure).value.has_value(); });
  };
  std::vector<Curve> curves;
  if (any(&TaskRow::score)) {
    curves.push_back({"score", &TaskRow::score, true});
  }
  curves.push_back({"loss of the answer (nats a token)", &TaskRow::nll});
  if (curves.size() == 1 && any(&TaskRow::candidate_accuracy)) {
    curves.insert(curves.begin(),
                  {"most likely candidate is right", &TaskRow::candidate_accuracy, true});
  }
  curves.push_back({"attention entropy (nats)", &TaskRow::entropy_query});
  return curves;
}

/// What is of one degree stands on one band.
void draw_bands(Drawing& drawing, const Panel& panel, const Shown& run) {
  constexpr double kHalf = 0.36;
  for (const auto degree : run.degrees) {
    const auto place = place_of(run, degree);
    const auto corner = panel.at(std::max(place - kHalf, panel.x.low), panel.y.high);
    const auto end = panel.at(std::min(place + kHalf, panel.x.high), panel.y.high);
    drawing.rectangle(corner, end.x - corner.x, panel.height, "#f4f4f4");
  }
}

void draw_degrees(Drawing& drawing, const Panel& panel, const Shown& run) {
  for (const auto degree : run.degrees) {
    const auto x = panel.at(place_of(run, degree), panel.y.low).x;
    drawing.line({x, panel.bottom()}, {x, panel.bottom() + 4}, "#111");
    drawing.text({x, panel.bottom() + 17}, degree_text(degree), Anchor::kMiddle, 11);
  }
  drawing.text({panel.corner.x + panel.width / 2, panel.bottom() + 33}, "pieces P",
               Anchor::kMiddle);
}

}  // namespace

Picture score_picture(const Shown& run, const Styles& styles) {
  constexpr double kHeight = 190, kColumns = 3;
  const auto width = (kWidth - kColumns * (kMargin + 14)) / kColumns;
  Drawing drawing;
  auto y = draw_legend(drawing, {kMargin, 12}, run.labels, styles) + 4;
  const auto middle = static_cast<double>(run.labels.size()) / 2;
  for (const auto& task : run.tasks) {
    drawing.text({4, y + 8},
                 fmt::format("{} (items: {}, with an output: {})", task.name, task.rows[0]->items,
                             task.rows[0]->outputs),
                 Anchor::kStart, 13, "font-weight=\"bold\"");
    y += 22;
    double x = kMargin;
    for (const auto& curve : curves_of(task)) {
      Range range;
      for (const auto* row : task.rows) {
        const auto& one = row->*curve.figure;
        for (const auto& value : {one.value, one.low, one.high}) {
          if (value) {
            range.add(*value);
          }
        }
      }
      if (curve.is_share) {
        range.add(0);
        range.add(0.1);  // so that all zeros are a line at the floor
      }
      const auto room = std::max(0.06 * (range.high - range.low), 1e-3);
      const Panel panel{{x, y},
                        width,
                        kHeight,
                        {-0.4, static_cast<double>(run.degrees.size()) - 0.6},
                        {range.low - room, range.high + room}};
      draw_bands(drawing, panel, run);
      draw_y_axis(drawing, panel, curve.title, 4);
      draw_degrees(drawing, panel, run);
      const auto at = [&](const TaskRow& row) {
        const auto label = static_cast<double>(
            std::find(run.labels.begin(), run.labels.end(), label_of(row)) - run.labels.begin());
        const auto beside = row.pieces == 1 ? 0 : 0.6 / (2 * middle) * (label - middle);
        return place_of(run, row.pieces) + beside;  // bars of modes that meet stand side by side
      };
      for (const auto& label : run.labels) {
        const auto style = styles.of(label);
        std::vector<Point> line;
        for (const auto* row : task.rows) {
          const auto& one = row->*curve.figure;
          if (!one.value || (label_of(*row) != label && row->mode != "full")) {
            continue;
          }
          line.push_back(panel.at(at(*row), *one.value));
        }
        std::sort(line.begin(), line.end(),
                  [](const Point& a, const Point& b) { return a.x < b.x; });
        drawing.polyline(line, style, 1.2);
      }
      for (const auto* row : task.rows) {
        const auto& one = row->*curve.figure;
        if (!one.value) {
          continue;
        }
        const auto style = styles.of(label_of(*row));
        auto tip = fmt::format("{}, {}, P = {}: {} {:.3f}", task.name, label_of(*row),
                               degree_text(row->pieces), curve.title, *one.value);
        if (one.low) {
          drawing.line(panel.at(at(*row), *one.low), panel.at(at(*row), *one.high), style.color,
                       1.1);
          tip += fmt::format(" [{:.3f}, {:.3f}]", *one.low, *one.high);
        }
        if (one.minus_full_low) {
          tip += fmt::format("; less full: {:+.3f} [{:+.3f}, {:+.3f}]", *one.minus_full,
                             *one.minus_full_low, *one.minus_full_high);
        }
        drawing.marker(panel.at(at(*row), *one.value), style, tip);
      }
      x += width + kMargin + 14;
    }
    y += kHeight + 56;
  }
  return {"task-scores", "Every task against the number of pieces",
          "Bars: 95 % intervals over items (bootstrap). Every line starts at full attention. "
          "Differences between modes are paired by item and more certain than the bars look: "
          "point at a mark for those from full attention.",
          drawing.document(kWidth, y)};
}

}  // namespace motet::report::tasks
