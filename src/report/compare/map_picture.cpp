#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "report/compare/shown.h"
#include "report/panel.h"

namespace motet::report {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

/// Cells [layers][heads] with their colors; layers to the right, heads downwards.
void draw_map(Drawing& drawing, Point corner, double width, double height,
              const std::vector<std::vector<double>>& cells,
              const std::function<std::string(double)>& color, const std::string& label,
              bool marks_falls) {
  const auto layers = cells.size(), heads = cells[0].size();
  const auto across = width / static_cast<double>(layers);
  const auto down = height / static_cast<double>(heads);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (std::size_t head = 0; head < heads; ++head) {
      const auto value = cells[layer][head];
      const Point at{corner.x + across * static_cast<double>(layer),
                     corner.y + down * static_cast<double>(head)};
      drawing.rectangle(
          at, across + 0.3, down + 0.3, color(value),
          fmt::format("{}, layer {}, head {}: {:.3f} nats", label, layer, head, value));
      if (marks_falls && value < 0) {
        drawing.dot({at.x + across / 2, at.y + down / 2}, std::min(across, down) / 6, "#111");
      }
    }
  }
}

std::vector<std::vector<double>> difference(const std::vector<std::vector<double>>& a,
                                            const std::vector<std::vector<double>>& b) {
  auto d = a;
  for (std::size_t layer = 0; layer < d.size(); ++layer) {
    for (std::size_t head = 0; head < d[layer].size(); ++head) {
      d[layer][head] -= b[layer][head];
    }
  }
  return d;
}

}  // namespace

Picture map_picture(const std::vector<Shown>& runs) {
  Range entropy;
  double change = 1e-3;
  std::size_t most = 0;
  for (const auto& run : runs) {
    for (const auto* row : most_pieces(run)) {
      for (const auto& layer : row->entropy_heads) {
        std::for_each(layer.begin(), layer.end(), [&](double value) { entropy.add(value); });
      }
      if (run.full != nullptr) {
        for (const auto& layer : difference(row->entropy_heads, run.full->entropy_heads)) {
          for (const auto value : layer) {
            change = std::max(change, std::abs(value));
          }
        }
      }
    }
    most = std::max(most, run.series.size());
  }
  entropy.low = std::min(0.0, entropy.low);
  const auto of_entropy = [&](double value) {
    return svg::sequential_color((value - entropy.low) / (entropy.high - entropy.low));
  };
  const auto of_change = [&](double value) { return svg::diverging_color(value / change); };
  constexpr double kLeft = 44, kRight = 56, kGap = 16, kHeight = 120;
  const auto columns = std::clamp<std::size_t>(most, 3, 5);
  const auto width = (kWidth - kLeft - kRight - kGap * static_cast<double>(columns - 1)) /
                     static_cast<double>(columns);
  Drawing drawing;
  double y = 0;
  for (const auto& run : runs) {
    y = draw_title(drawing, y, run, runs.size());
    const auto rows = most_pieces(run);
    for (std::size_t first = 0; first < rows.size(); first += columns) {
      const auto last = std::min(rows.size(), first + columns);
      const auto lines = run.full != nullptr ? 2 : 1;
      for (int line = 0; line < lines; ++line) {
        const auto top = y + 22 + line * (kHeight + 20);
        for (auto i = first; i < last; ++i) {
          const auto& row = *rows[i];
          const auto label = fmt::format("{}, P = {}", label_of(row), row.pieces);
          const Point corner{kLeft + static_cast<double>(i - first) * (width + kGap), top};
          if (line == 0) {
            drawing.text({corner.x + width / 2, top - 7}, label, Anchor::kMiddle);
            draw_map(drawing, corner, width, kHeight, row.entropy_heads, of_entropy, label, false);
          } else if (&row != run.full) {
            draw_map(drawing, corner, width, kHeight,
                     difference(row.entropy_heads, run.full->entropy_heads), of_change,
                     label + " - full", true);
          } else {
            drawing.text({corner.x + width / 2, top + kHeight / 2},
                         "change against full:", Anchor::kMiddle, 12, "fill=\"#555\"");
          }
          const auto layers = row.entropy_heads.size(), heads = row.entropy_heads[0].size();
          if (i == first) {
            drawing.upward_text({corner.x - 28, top + kHeight / 2}, "head");
            drawing.text({corner.x - 6, top + 10}, "0", Anchor::kEnd, 10);
            drawing.text({corner.x - 6, top + kHeight}, std::to_string(heads - 1), Anchor::kEnd,
                         10);
          }
          if (line + 1 == lines) {
            drawing.text({corner.x, top + kHeight + 13}, "0", Anchor::kStart, 10);
            drawing.text({corner.x + width / 2, top + kHeight + 13}, "layer", Anchor::kMiddle, 11);
            drawing.text({corner.x + width, top + kHeight + 13}, std::to_string(layers - 1),
                         Anchor::kEnd, 10);
          }
        }
        const Point scale{kWidth - kRight + 10, top};
        line == 0 ? draw_scale(drawing, scale, kHeight, entropy, of_entropy)
                  : draw_scale(drawing, scale, kHeight, {-change, change}, of_change);
      }
      y += 22 + lines * (kHeight + 20) + 12;
    }
  }
  return {
      "entropy-maps", "Attention entropy of every head, and its change against full attention",
      "Mean over query tokens, in nats, of each mode at its largest number of pieces. Below: the "
      "change against full attention; a dot marks heads whose entropy falls.",
      drawing.document(kWidth, y)};
}

}  // namespace motet::report
