#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "report/svg.h"

/// Figures of layers and heads as colors.
namespace motet::report {

/// Cells [layers][heads]: layers to the right, heads downwards.
struct Map {
  std::string title;
  std::function<std::string(std::size_t, std::size_t)> color;
  std::function<std::string(std::size_t, std::size_t)> tip;  // what a cell says when pointed at
};

/// Maps [layers][heads] side by side; returns where they end.
double draw_maps(svg::Drawing& drawing, double y, double width, double height, std::size_t layers,
                 std::size_t heads, const std::vector<Map>& maps);
}  // namespace motet::report
