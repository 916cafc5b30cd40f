#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "motet/heads/judge.h"
#include "report/heads/shown.h"
#include "report/panel.h"

namespace motet::report::heads {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

Picture error_picture(const Shown& run) {
  const auto& full = run.full;
  constexpr double kSide = 380;
  constexpr auto kBins = HeadsFull::kBins;
  Drawing drawing;
  const Range margins{-HeadsFull::kMargins, HeadsFull::kMargins};
  const Panel map{{kMargin, 14}, kSide, kSide, margins, margins};
  double most = 0, least = 1;
  for (const auto& line : full.margins) {
    for (const auto share : line) {
      most = std::max(most, share);
      least = share > 0 ? std::min(least, share) : least;
    }
  }
  const Range depth{std::log10(least), std::max(std::log10(most), std::log10(least) + 1e-3)};
  const auto cell = kSide / kBins;
  const auto nats = [](int64_t bin) {
    return -HeadsFull::kMargins +
           2 * HeadsFull::kMargins * (static_cast<double>(bin) + 0.5) / kBins;
  };
  const auto color = [&](double power) {
    return svg::sequential_color(1 - (power - depth.low) / (depth.high - depth.low));
  };
  draw_y_axis(drawing, map, "true ln A_W - ln A_B (nats)");
  draw_x_axis(drawing, map, "estimated ln A_W - ln A_B (nats)");
  for (int64_t i = 0; i < kBins; ++i) {
    for (int64_t j = 0; j < kBins; ++j) {
      if (const auto share = full.margins[i][j]; share > 0) {
        drawing.rectangle({map.corner.x + static_cast<double>(j) * cell,
                           map.bottom() - static_cast<double>(i + 1) * cell},
                          cell + 0.3, cell + 0.3, color(std::log10(share)),
                          fmt::format("true {:.2f}, estimated {:.2f}: {:.3g} % of rows", nats(i),
                                      nats(j), 100 * share));
      }
    }
  }
  drawing.line(map.at(margins.low, margins.low), map.at(margins.high, margins.high), "#d55e00",
               1.2);
  if (const auto odds = log_odds(run.map->tau); std::abs(odds) < HeadsFull::kMargins) {
    drawing.line(map.at(odds, margins.low), map.at(odds, margins.high), "#111", 1, "4 3");
    drawing.line(map.at(margins.low, odds), map.at(margins.high, odds), "#111", 1, "4 3");
  }
  report::draw_scale(drawing, {map.corner.x + kSide + 12, map.corner.y}, kSide, depth, color);
  drawing.text({map.corner.x + kSide + 46, map.corner.y + kSide / 2}, "log10 of", Anchor::kStart,
               10);
  drawing.text({map.corner.x + kSide + 46, map.corner.y + kSide / 2 + 13}, "the share",
               Anchor::kStart, 10);

  const auto layers = full.error.size();
  const auto left = map.corner.x + kSide + 160;
  Range range{0, 0};
  for (std::size_t layer = 0; layer < layers; ++layer) {
    range.add(mean(full.error[layer]));
    range.add(mean(full.absolute_error[layer]));
  }
  const auto room = 0.06 * (range.high - range.low);
  const Panel panel{{left, 36},
                    kWidth - left - 8,
                    kSide - 22,
                    {-0.5, static_cast<double>(layers) - 0.5},
                    {range.low - room, range.high + room}};
  draw_y_axis(drawing, panel, "error of ln A_B (nats)");
  draw_layer_axis(drawing, panel);
  const std::vector<std::pair<std::string, const HeadTable*>> lines{
      {"mean of the absolute error", &full.absolute_error}, {"mean error", &full.error}};
  double x = left;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const auto style = svg::style_of(i);
    std::vector<Point> points;
    for (std::size_t layer = 0; layer < layers; ++layer) {
      points.push_back(panel.at(static_cast<double>(layer), mean((*lines[i].second)[layer])));
    }
    drawing.polyline(points, style);
    for (std::size_t layer = 0; layer < layers; ++layer) {
      drawing.marker(points[layer], style,
                     fmt::format("layer {}: {} {:.3f} nats", layer, lines[i].first,
                                 mean((*lines[i].second)[layer])));
    }
    drawing.polyline({{x, 14}, {x + 30, 14}}, style);
    drawing.marker({x + 15, 14}, style);
    drawing.text({x + 36, 18}, lines[i].first);
    x += 66 + 7.0 * static_cast<double>(lines[i].first.size());
  }
  return {"estimate", "The estimate of far mass against the truth",
          fmt::format("Rows of all heads under full attention. Left: on the orange line the "
                      "estimate is right; dashed: the threshold of tau = {}, so the lower right "
                      "quarter is falsely local and the upper left one falsely long. What is "
                      "farther out is in the outermost cells. Right: ln A_B_hat - ln A_B, mean "
                      "over heads and rows.",
                      run.map->tau),
          drawing.document(kWidth, map.bottom() + 46)};
}

Picture fit_picture(const Shown& run) {
  const auto& full = run.full;
  const auto layers = full.distance.size(), heads = full.distance[0].size();
  std::pair<std::size_t, std::size_t> best{0, 0}, worst{0, 0};
  Range range{0, 0};
  for (std::size_t l = 0; l < layers; ++l) {
    for (std::size_t h = 0; h < heads; ++h) {
      const auto distance = full.distance[l][h];
      range.add(distance);
      best = distance < full.distance[best.first][best.second] ? std::pair{l, h} : best;
      worst = distance > full.distance[worst.first][worst.second] ? std::pair{l, h} : worst;
    }
  }
  Drawing drawing;
  constexpr double kMapWidth = 560, kHeight = 210;
  const auto color = [&](double distance) { return svg::sequential_color(distance / range.high); };
  draw_maps(drawing, 0, kMapWidth, kHeight, layers, heads,
            {{"distance from a normal distribution",
              [&](std::size_t l, std::size_t h) { return color(full.distance[l][h]); },
              [&](std::size_t l, std::size_t h) {
                return fmt::format("layer {}, head {}: {:.3f}; mean error of ln A_B {:+.3f} nats",
                                   l, h, full.distance[l][h], full.error[l][h]);
              }}});
  report::draw_scale(drawing, {kMapWidth + 10, 20}, kHeight, range, color);
  constexpr auto kBins = GaussianFit::kBins;
  constexpr auto kReach = GaussianFit::kDeviations;
  constexpr double kStep = 2 * kReach / static_cast<double>(kBins);
  const auto left = kMapWidth + 120;
  const auto width = (kWidth - left - 40 - 8) / 2;  // room for the last number
  const std::array<std::pair<const char*, std::pair<std::size_t, std::size_t>>, 2> drawn{
      {{"best", best}, {"worst", worst}}};
  for (std::size_t i = 0; i < drawn.size(); ++i) {
    const auto& [name, head] = drawn[i];
    const auto& histogram = full.histogram[head.first][head.second];
    Range density{0, 0.45};
    for (const auto share : histogram) {
      density.add(1.05 * share / kStep);
    }
    const Panel panel{{left + static_cast<double>(i) * (width + 40), 20},
                      width,
                      kHeight,
                      {-kReach, kReach},
                      density};
    drawing.text({panel.corner.x + width / 2, 13},
                 fmt::format("{}: layer {}, head {} ({:.3f})", name, head.first, head.second,
                             full.distance[head.first][head.second]),
                 Anchor::kMiddle);
    draw_y_axis(drawing, panel, i == 0 ? "density" : "");
    draw_x_axis(drawing, panel, "score, in deviations");
    for (int64_t bin = 0; bin < kBins; ++bin) {
      const auto from = -kReach + kStep * static_cast<double>(bin);
      const auto top = panel.at(from, histogram[bin] / kStep);
      drawing.rectangle(top, width / static_cast<double>(kBins), panel.bottom() - top.y, "#7f9fb8",
                        fmt::format("{:.2f} to {:.2f} deviations: {:.3g} % of keys", from,
                                    from + kStep, 100 * histogram[bin]));
    }
    std::vector<Point> normal;
    for (double x = -kReach; x <= kReach; x += kReach / 60) {
      normal.push_back(panel.at(x, std::exp(-x * x / 2) / std::sqrt(2 * std::numbers::pi)));
    }
    drawing.polyline(normal, svg::style_of(2), 1.5);
  }
  return {"gaussian", "How Gaussian the scores of far keys are",
          "The estimate takes the scores of the keys outside the window for normally distributed. "
          "Left: the largest distance of the two distribution functions (Kolmogorov and "
          "Smirnov's statistic; 0: the same), mean over some query rows of each head, under full "
          "attention. Right: the scores of the best and of the worst head, each row's mean taken "
          "off and divided by its deviation; the line is the normal distribution.",
          drawing.document(kWidth, kHeight + 66)};
}

}  // namespace motet::report::heads
