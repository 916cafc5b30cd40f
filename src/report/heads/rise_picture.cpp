#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "report/heads/shown.h"
#include "report/panel.h"

namespace motet::report::heads {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

Picture rise_picture(const Shown& run) {
  const auto& full = run.full;
  const auto& row = *run.map;
  Range rise{0, 0};
  std::array<double, 3> sums{}, counts{};
  for (std::size_t l = 0; l < full.entropy_heads.size(); ++l) {
    for (std::size_t h = 0; h < full.entropy_heads[l].size(); ++h) {
      const auto change = full.parallel_entropy[l][h] - full.entropy_heads[l][h];
      const auto kind = static_cast<std::size_t>(kind_of(row.long_share[l][h]));
      rise.add(change);
      sums[kind] += change;
      ++counts[kind];
    }
  }
  const auto room = std::max(0.05 * (rise.high - rise.low), 1e-3);
  Drawing drawing;
  const Panel panel{{kMargin, 10}, 700, 300, {-0.02, 1.02}, {rise.low - room, rise.high + room}};
  draw_y_axis(drawing, panel, "rise of entropy (nats)");
  draw_x_axis(drawing, panel, "how often the head is long", 10);
  const auto zero = panel.at(panel.x.low, 0);
  drawing.line(zero, {zero.x + panel.width, zero.y}, "#111", 1, "4 3");
  for (std::size_t l = 0; l < full.entropy_heads.size(); ++l) {
    for (std::size_t h = 0; h < full.entropy_heads[l].size(); ++h) {
      const auto change = full.parallel_entropy[l][h] - full.entropy_heads[l][h];
      const auto kind = static_cast<std::size_t>(kind_of(row.long_share[l][h]));
      const auto at = panel.at(row.long_share[l][h], change);
      drawing.rectangle(
          {at.x - 3, at.y - 3}, 6, 6, kKindColors[kind],
          fmt::format("layer {}, head {}: {:.1f} % long, entropy {:.3f} in full, "
                      "{:+.3f} nats in parallel",
                      l, h, 100 * row.long_share[l][h], full.entropy_heads[l][h], change),
          "stroke=\"#333\" stroke-width=\"0.7\"");
    }
  }
  Range means{0, 0};
  for (std::size_t kind = 0; kind < 3; ++kind) {
    means.add(counts[kind] > 0 ? 1.1 * sums[kind] / counts[kind] : 0);
  }
  means.high = std::max(means.high, 1e-3);
  const Panel bars{{kMargin + 790, 10}, kWidth - kMargin - 800, 300, {-0.5, 2.5}, means};
  draw_y_axis(drawing, bars, "mean rise (nats)");
  for (std::size_t kind = 0; kind < 3; ++kind) {
    const auto value = counts[kind] > 0 ? sums[kind] / counts[kind] : 0;
    const auto at = bars.at(static_cast<double>(kind), std::max(0.0, value));
    const auto base = bars.at(0, std::min(0.0, value));
    drawing.rectangle(
        {at.x - 34, at.y}, 68, base.y - at.y, kKindColors[kind],
        fmt::format("{}: {:+.4f} nats, {} heads", kKindNames[kind], value, counts[kind]),
        "stroke=\"#333\" stroke-width=\"0.7\"");
    drawing.text({at.x, bars.bottom() + 17}, kKindNames[kind], Anchor::kMiddle, 11);
    drawing.text({at.x, bars.bottom() + 32}, fmt::format("{} heads", counts[kind]), Anchor::kMiddle,
                 11);
  }
  return {"entropy-rise", "Where the entropy of parallel reading rises: in long heads or in local?",
          fmt::format("Attention entropy of each head over the same context read in {} pieces "
                      "(`parallel`), less that under full attention; mean over query tokens. How "
                      "often a head is long: {} at tau = {}. Right: means over heads of each "
                      "kind.",
                      full.pieces, row.method, row.tau),
          drawing.document(kWidth, panel.bottom() + 46)};
}

}  // namespace motet::report::heads
