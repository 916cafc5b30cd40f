#include "report/map.h"

namespace motet::report {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

void draw_cells(Drawing& drawing, Point corner, double width, double height, std::size_t layers,
                std::size_t heads, const Map& map) {
  const auto across = width / static_cast<double>(layers);
  const auto down = height / static_cast<double>(heads);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (std::size_t head = 0; head < heads; ++head) {
      const Point at{corner.x + across * static_cast<double>(layer),
                     corner.y + down * static_cast<double>(head)};
      drawing.rectangle(at, across + 0.3, down + 0.3, map.color(layer, head), map.tip(layer, head));
    }
  }
}

}  // namespace

double draw_maps(Drawing& drawing, double y, double width, double height, std::size_t layers,
                 std::size_t heads, const std::vector<Map>& maps) {
  constexpr double kGap = 18, kLeft = 44;
  const auto each = (width - kLeft - kGap * static_cast<double>(maps.size() - 1)) /
                    static_cast<double>(maps.size());
  const auto top = y + 20;
  for (std::size_t i = 0; i < maps.size(); ++i) {
    const Point corner{kLeft + static_cast<double>(i) * (each + kGap), top};
    drawing.text({corner.x + each / 2, top - 7}, maps[i].title, Anchor::kMiddle);
    draw_cells(drawing, corner, each, height, layers, heads, maps[i]);
    drawing.text({corner.x, top + height + 13}, "0", Anchor::kStart, 10);
    drawing.text({corner.x + each / 2, top + height + 13}, "layer", Anchor::kMiddle, 11);
    drawing.text({corner.x + each, top + height + 13}, std::to_string(layers - 1), Anchor::kEnd,
                 10);
  }
  drawing.upward_text({kLeft - 28, top + height / 2}, "head");
  drawing.text({kLeft - 6, top + 10}, "0", Anchor::kEnd, 10);
  drawing.text({kLeft - 6, top + height}, std::to_string(heads - 1), Anchor::kEnd, 10);
  return top + height + 24;
}

}  // namespace motet::report
