#include "report/legend.h"

#include <algorithm>

#include "report/panel.h"

namespace motet::report {

using svg::Drawing;
using svg::Point;

Styles::Styles(const std::vector<std::string>& labels) {
  for (const auto* usual : {"full", "parallel", "sink", "selective", "both"}) {
    labels_.emplace_back(usual);
  }
  for (const auto& label : labels) {
    if (std::find(labels_.begin(), labels_.end(), label) == labels_.end()) {
      labels_.push_back(label);
    }
  }
}

svg::Style Styles::of(const std::string& label) const {
  return svg::style_of(std::find(labels_.begin(), labels_.end(), label) - labels_.begin());
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

}  // namespace motet::report
