#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "report/heads/shown.h"
#include "report/panel.h"

namespace motet::report::heads {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

Picture map_picture(const Shown& run) {
  const auto& row = *run.map;
  const auto layers = row.long_share.size(), heads = row.long_share[0].size();
  Drawing drawing;
  const auto of = [](const char* what, const HeadTable& table) {
    return Map{what, [&](std::size_t l, std::size_t h) { return share_color(table[l][h]); },
               [&table, what](std::size_t l, std::size_t h) {
                 return fmt::format("layer {}, head {}: {:.1f} %, {}", l, h, 100 * table[l][h],
                                    what);
               }};
  };
  const auto width = kWidth - kScaleRoom;
  auto y = draw_maps(drawing, 0, width, kMapHeight, layers, heads,
                     {of("how often it is long", row.long_share),
                      of("how often the oracle says so", row.oracle_long)});
  report::draw_scale(drawing, {width + 10, 20}, kMapHeight, {0, 1}, share_color);
  const auto below = y;
  std::array<int64_t, 3> counts{};
  for (const auto& layer : row.long_share) {
    for (const auto share : layer) {
      ++counts[static_cast<std::size_t>(kind_of(share))];
    }
  }
  y = draw_maps(
      drawing, y + 6, width, kMapHeight, layers, heads,
      {of("how often it decides otherwise than for the token before", row.switching),
       {"what kind of head it is",
        [&](std::size_t l, std::size_t h) {
          return std::string(kKindColors[static_cast<std::size_t>(kind_of(row.long_share[l][h]))]);
        },
        [&](std::size_t l, std::size_t h) {
          return fmt::format("layer {}, head {}: {} ({:.1f} % long)", l, h,
                             kKindNames[static_cast<std::size_t>(kind_of(row.long_share[l][h]))],
                             100 * row.long_share[l][h]);
        }}});
  report::draw_scale(drawing, {width + 10, below + 26}, kMapHeight, {0, 1}, share_color);
  std::vector<std::string> labels, fills;
  for (std::size_t kind = 0; kind < 3; ++kind) {
    labels.push_back(fmt::format("{}: {} heads", kKindNames[kind], counts[kind]));
    fills.emplace_back(kKindColors[kind]);
  }
  y = draw_keys(drawing, kWidth / 2 + 10, y + 6, labels, fills);
  return {"long-heads", "Which heads are long, and how much that depends on the token",
          fmt::format("Shares of query tokens, {} at tau = {}. A head is always long, or always "
                      "local, where {:.0f} % of its decisions are.",
                      row.method, row.tau, 100 * kOften),
          drawing.document(kWidth, y)};
}

Picture confusion_picture(const Shown& run) {
  const auto& row = *run.map;
  const auto layers = row.long_share.size();
  Drawing drawing;
  const std::vector<std::string> names{"rightly local", "false local", "rightly long",
                                       "false long"};
  const std::vector<std::string> fills{"#e8e8e8", "#d55e00", "#7f9fb8", "url(#between)"};
  const auto y = draw_keys(drawing, kMargin, 12, names, fills);
  const Panel panel{{kMargin, y + 4},
                    kWidth - kMargin - 8,
                    220,
                    {-0.5, static_cast<double>(layers) - 0.5},
                    {0, 1}};
  draw_y_axis(drawing, panel, "share of decisions");
  draw_layer_axis(drawing, panel);
  const auto bar = 0.78 * panel.width / static_cast<double>(layers);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    const auto far = mean(row.long_share[layer]);
    const auto missed = mean(row.false_local_heads[layer]);
    const auto spare = mean(row.false_long_heads[layer]);
    const std::array shares{1 - far - missed, missed, far - spare, spare};
    double below = 0;
    for (std::size_t i = 0; i < shares.size(); ++i) {
      const auto at = panel.at(static_cast<double>(layer), below + shares[i]);
      drawing.rectangle({at.x - bar / 2, at.y}, bar, panel.at(0, below).y - at.y, fills[i],
                        fmt::format("layer {}: {} {:.2f} %", layer, names[i], 100 * shares[i]),
                        "stroke=\"#333\" stroke-width=\"0.5\"");
      below += shares[i];
    }
  }
  return {"confusion", "Decisions held against the oracle, layer by layer",
          fmt::format("The oracle knows the true mass of the keys outside the window, of the same "
                      "queries and keys in the same pass. {} at tau = {}: {:.2f} % of all "
                      "decisions are falsely local, {:.2f} % falsely long.",
                      row.method, row.tau, 100 * row.false_local, 100 * row.false_long),
          drawing.document(kWidth, panel.bottom() + 44)};
}

}  // namespace motet::report::heads
