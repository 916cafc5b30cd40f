#include "report/panel.h"

#include <fmt/format.h>

#include <algorithm>

#include "motet/error.h"

namespace motet::report {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

std::string number(double value) {
  return std::abs(value) >= 10000 ? fmt::format("{:.3g}", value) : fmt::format("{:.6g}", value);
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

}  // namespace motet::report
