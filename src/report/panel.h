#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "report/svg.h"

/// Panels of pictures, with their axes and scales.
namespace motet::report {

constexpr double kWidth = 1160;  // of a picture, pixels
constexpr std::string_view kGrid = "#d9d9d9";

struct Range {
  double low = INFINITY, high = -INFINITY;
  void add(double value);
};

/// A rectangle with axes: values to pixels.
struct Panel {
  svg::Point corner;
  double width, height;
  Range x, y;

  svg::Point at(double px, double py) const {
    return {corner.x + width * (px - x.low) / (x.high - x.low),
            corner.y + height * (1 - (py - y.low) / (y.high - y.low))};
  }
  double bottom() const { return corner.y + height; }
};

/// "0.25", "12000", "1.2e+05".
std::string number(double value);

void draw_y_axis(svg::Drawing& drawing, const Panel& panel, const std::string& title,
                 int count = 5);
/// Ticks and numbers below, and the axis' name.
void draw_x_axis(svg::Drawing& drawing, const Panel& panel, const std::string& title,
                 int count = 8);
/// The same for layers, which are whole numbers.
void draw_layer_axis(svg::Drawing& drawing, const Panel& panel);
/// The colors of a map, upwards.
void draw_scale(svg::Drawing& drawing, svg::Point corner, double height, const Range& range,
                const std::function<std::string(double)>& color);

}  // namespace motet::report
