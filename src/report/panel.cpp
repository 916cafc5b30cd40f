#include "report/panel.h"

#include <fmt/format.h>

#include <algorithm>

#include "motet/error.h"

namespace motet::report {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

std::string title_of(const Run& run) {
  return fmt::format("{} on {} ({} x {} tokens, {} scored, {}, positions {})", run.model.name,
                     run.data.name, run.options.segments, run.options.length, run.options.scored,
                     run.dtype, name_of(run.options.positions));
}

}  // namespace

Shown shown(const Run& run) {
  Shown shown{&run, title_of(run), over_segments(run.segment_rows), {}, nullptr};
  require(!shown.rows.empty(), "motet::pictures_of: the run on ", run.data.name,
          " has no segment yet; --resume it first");
  for (const auto& row : shown.rows) {
    const auto label = label_of(row);
    const auto found = std::find_if(shown.series.begin(), shown.series.end(),
                                    [&](const Series& series) { return series.label == label; });
    auto& series =
        found == shown.series.end() ? shown.series.emplace_back(Series{label, {}}) : *found;
    series.rows.push_back(&row);
    if (row.mode == "full") {
      shown.full = &row;
    }
  }
  for (auto& series : shown.series) {
    std::sort(series.rows.begin(), series.rows.end(),
              [](const CompareRow* a, const CompareRow* b) { return a->pieces < b->pieces; });
  }
  return shown;
}

std::string number(double value) {
  return std::abs(value) >= 10000 ? fmt::format("{:.3g}", value) : fmt::format("{:.6g}", value);
}

Styles::Styles(const std::vector<Shown>& runs) {
  for (const auto* usual : {"full", "parallel", "sink", "selective", "both"}) {
    labels_.emplace_back(usual);
  }
  for (const auto& label : labels_of(runs)) {
    if (std::find(labels_.begin(), labels_.end(), label) == labels_.end()) {
      labels_.push_back(label);
    }
  }
}

svg::Style Styles::of(const std::string& label) const {
  return svg::style_of(std::find(labels_.begin(), labels_.end(), label) - labels_.begin());
}

void Range::add(double value) {
  low = std::min(low, value);
  high = std::max(high, value);
}

void draw_y_axis(Drawing& drawing, const Panel& panel, const std::string& title, int count) {
  for (const auto tick : svg::ticks(panel.y.low, panel.y.high, count)) {
    const auto y = panel.at(panel.x.low, tick).y;
    drawing.line({panel.corner.x, y}, {panel.corner.x + panel.width, y}, kGrid);
    drawing.text({panel.corner.x - 6, y + 4}, number(tick), Anchor::kEnd, 11);
  }
  drawing.line({panel.corner.x, panel.corner.y}, {panel.corner.x, panel.bottom()}, "#111");
  drawing.line({panel.corner.x, panel.bottom()}, {panel.corner.x + panel.width, panel.bottom()},
               "#111");
  drawing.upward_text({panel.corner.x - 46, panel.corner.y + panel.height / 2}, title);
}

double draw_legend(Drawing& drawing, Point at, const std::vector<std::string>& labels,
                   const Styles& styles) {
  auto x = at.x, y = at.y;
  for (const auto& label : labels) {
    const auto width = 58 + 7.0 * static_cast<double>(label.size());
    if (x + width > kWidth) {
      x = at.x;
      y += 20;
    }
    const auto style = styles.of(label);
    drawing.polyline({{x, y}, {x + 30, y}}, style);
    drawing.marker({x + 15, y}, style);
    drawing.text({x + 36, y + 4}, label);
    x += width;
  }
  return y + 22;
}

namespace {

void draw_x_axis_at(Drawing& drawing, const Panel& panel, const std::string& title,
                    const std::vector<double>& ticks) {
  for (const auto tick : ticks) {
    const auto x = panel.at(tick, panel.y.low).x;
    drawing.line({x, panel.bottom()}, {x, panel.bottom() + 4}, "#111");
    drawing.text({x, panel.bottom() + 17}, number(tick), Anchor::kMiddle, 11);
  }
  drawing.text({panel.corner.x + panel.width / 2, panel.bottom() + 34}, title, Anchor::kMiddle);
}

}  // namespace

void draw_x_axis(Drawing& drawing, const Panel& panel, const std::string& title, int count) {
  draw_x_axis_at(drawing, panel, title, svg::ticks(panel.x.low, panel.x.high, count));
}

void draw_layer_axis(Drawing& drawing, const Panel& panel) {
  auto ticks = svg::ticks(panel.x.low, panel.x.high, 8);
  std::erase_if(ticks, [](double tick) { return tick != std::floor(tick); });
  draw_x_axis_at(drawing, panel, "layer", ticks);
}

std::vector<std::string> labels_of(const std::vector<Shown>& runs) {
  std::vector<std::string> labels;
  for (const auto& run : runs) {
    for (const auto& series : run.series) {
      if (std::find(labels.begin(), labels.end(), series.label) == labels.end()) {
        labels.push_back(series.label);
      }
    }
  }
  return labels;
}

double draw_title(Drawing& drawing, double y, const Shown& run, std::size_t runs) {
  if (runs < 2) {
    return y;
  }
  drawing.text({0, y + 14}, run.title, Anchor::kStart, 13, "font-weight=\"bold\"");
  return y + 26;
}

void draw_scale(Drawing& drawing, Point corner, double height, const Range& range,
                const std::function<std::string(double)>& color) {
  constexpr int kSteps = 60;
  for (int i = 0; i < kSteps; ++i) {
    const auto value = range.low + (range.high - range.low) * (i + 0.5) / kSteps;
    drawing.rectangle({corner.x, corner.y + height * (1 - (i + 1.0) / kSteps)}, 12,
                      height / kSteps + 0.3, color(value));
  }
  for (const auto tick : svg::ticks(range.low, range.high, 4)) {
    const auto y = corner.y + height * (1 - (tick - range.low) / (range.high - range.low));
    drawing.line({corner.x + 12, y}, {corner.x + 16, y}, "#111");
    drawing.text({corner.x + 19, y + 4}, number(tick), Anchor::kStart, 10);
  }
}

std::vector<const CompareRow*> most_pieces(const Shown& run) {
  std::vector<const CompareRow*> rows;
  for (const auto& series : run.series) {
    rows.push_back(series.rows.back());
  }
  return rows;
}

}  // namespace motet::report
