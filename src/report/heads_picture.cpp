#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "motet/error.h"
#include "motet/heads/judge.h"
#include "motet/report/heads.h"
#include "report/panel.h"
#include "report/svg.h"

namespace motet {
namespace {

using report::draw_layer_axis;
using report::draw_x_axis;
using report::draw_y_axis;
using report::kWidth;
using report::number;
using report::Panel;
using report::Range;
using svg::Anchor;
using svg::Drawing;
using svg::Point;

constexpr double kMargin = 62;
constexpr double kOften = 0.95;  // a head that is long so often is always long, or as rarely local

enum class HeadKind { kLocal, kSwitching, kLong };
constexpr std::array<const char*, 3> kKindNames{"always local", "switching", "always long"};
constexpr std::array<const char*, 3> kKindColors{"#e8e8e8", "#56b4e9", "#1c3f5f"};

HeadKind kind_of(double long_share) {
  return long_share >= kOften       ? HeadKind::kLong
         : long_share <= 1 - kOften ? HeadKind::kLocal
                                    : HeadKind::kSwitching;
}

/// A run as pictures take it.
struct Shown {
  std::vector<HeadsRow> rows;
  HeadsFull full;
  std::vector<std::string> methods;  // in the order of the run
  const HeadsRow* map = nullptr;     // the row that maps are made of
};

Shown shown(const HeadsRun& run) {
  require(!run.segment_rows.empty() && !run.segment_full.empty(), "motet::pictures_of: the run on ",
          run.data.name, " has no method yet; --resume it first");
  Shown shown{over_segments(run.segment_rows), over_segments(run.segment_full), {}, nullptr};
  std::vector<const HeadsRow*> first;  // of the first method, rising in tau
  for (const auto& row : shown.rows) {
    if (std::find(shown.methods.begin(), shown.methods.end(), row.method) == shown.methods.end()) {
      shown.methods.push_back(row.method);
    }
    if (row.method == shown.rows[0].method) {
      first.push_back(&row);
    }
  }
  std::sort(first.begin(), first.end(),
            [](const HeadsRow* a, const HeadsRow* b) { return a->tau < b->tau; });
  shown.map = first[first.size() / 2];
  return shown;
}

std::vector<const HeadsRow*> rows_of(const Shown& run, const std::string& method) {
  std::vector<const HeadsRow*> rows;
  for (const auto& row : run.rows) {
    if (row.method == method) {
      rows.push_back(&row);
    }
  }
  std::sort(rows.begin(), rows.end(),
            [](const HeadsRow* a, const HeadsRow* b) { return a->local_share < b->local_share; });
  return rows;
}

/// The same method looks the same in every picture.
svg::Style style_of(const std::string& method) {
  constexpr std::array kOrder{"adaptive", "oracle", "static", "random", "pattern"};
  return svg::style_of(std::find(kOrder.begin(), kOrder.end(), method) - kOrder.begin());
}

double draw_legend(Drawing& drawing, double y, const std::vector<std::string>& labels,
                   const std::function<svg::Style(std::size_t)>& style) {
  double x = kMargin;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    drawing.polyline({{x, y}, {x + 30, y}}, style(i));
    drawing.marker({x + 15, y}, style(i));
    drawing.text({x + 36, y + 4}, labels[i]);
    x += 58 + 7.0 * static_cast<double>(labels[i].size());
  }
  return y + 22;
}

double draw_keys(Drawing& drawing, double x, double y, const std::vector<std::string>& labels,
                 const std::vector<std::string>& fills) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    drawing.rectangle({x, y - 8}, 26, 14, fills[i], "", "stroke=\"#333\" stroke-width=\"0.7\"");
    drawing.text({x + 32, y + 4}, labels[i]);
    x += 56 + 7.0 * static_cast<double>(labels[i].size());
  }
  return y + 22;
}

Picture loss_picture(const Shown& run) {
  Drawing drawing;
  const auto y = draw_legend(drawing, 12, run.methods,
                             [&](std::size_t i) { return style_of(run.methods[i]); });
  Range loss{0, 0}, share;
  for (const auto& row : run.rows) {
    loss.add(row.delta_nll - 1.96 * row.delta_stderr.value_or(0));
    loss.add(row.delta_nll + 1.96 * row.delta_stderr.value_or(0));
    share.add(row.local_share);
  }
  const auto room = std::max(0.05 * (loss.high - loss.low), 1e-4);
  const auto side = std::max(0.06 * (share.high - share.low), 0.01);
  const Panel panel{{kMargin + 8, y},
                    kWidth - kMargin - 30,
                    320,
                    {share.low - side, std::min(1.0, share.high + side)},
                    {loss.low - room, loss.high + room}};
  draw_y_axis(drawing, panel, "loss against full attention (nats a token)");
  draw_x_axis(drawing, panel, "share of local decisions", 10);
  const auto zero = panel.at(panel.x.low, 0);
  drawing.line(zero, {zero.x + panel.width, zero.y}, "#111", 1, "4 3");
  for (const auto& method : run.methods) {
    const auto style = style_of(method);
    std::vector<Point> line;
    for (const auto* row : rows_of(run, method)) {
      line.push_back(panel.at(row->local_share, row->delta_nll));
    }
    drawing.polyline(line, style);
  }
  // Bars of methods at one share stand beside each other.
  for (std::size_t i = 0; i < run.methods.size(); ++i) {
    const auto style = style_of(run.methods[i]);
    for (const auto* row : rows_of(run, run.methods[i])) {
      const auto error = 1.96 * row->delta_stderr.value_or(0);
      auto at = panel.at(row->local_share, row->delta_nll);
      const auto x =
          at.x + 3 * (static_cast<double>(i) - static_cast<double>(run.methods.size() - 1) / 2);
      drawing.line({x, panel.at(0, row->delta_nll - error).y},
                   {x, panel.at(0, row->delta_nll + error).y}, style.color, 1.2);
      drawing.marker(at, style,
                     fmt::format("{}, tau {}: {:.1f} % local, {:+.4f} ± {:.4f} nats a token "
                                 "(95 %), {:.1f} % of the memory of keys and values read",
                                 row->method, row->tau, 100 * row->local_share, row->delta_nll,
                                 error, 100 * row->read_share));
      if (i == 0) {
        drawing.text({at.x, at.y + 18}, fmt::format("τ={}", row->tau), Anchor::kMiddle, 10);
      }
    }
  }
  return {"loss-local", "Loss against the share of local decisions",
          "Each line is one method over the sweep of tau (written at the first one); bars: 95 % "
          "of the paired difference from full attention, over scored tokens. static and random "
          "have adaptive's share of local decisions at each tau. Farther right and lower is "
          "better. The figure of Donhauser et al. 2025, arXiv 2502.09647.",
          drawing.document(kWidth, panel.bottom() + 46)};
}

/// Cells [layers][heads]: layers to the right, heads downwards.
struct Map {
  std::string title;
  std::function<std::string(std::size_t, std::size_t)> color;
  std::function<std::string(std::size_t, std::size_t)> tip;  // what a cell says when pointed at
};

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

/// Maps [layers][heads] side by side; returns where they end.
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

constexpr double kScaleRoom = 56, kMapHeight = 130;

std::string share_color(double share) { return svg::sequential_color(share); }

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

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const auto value : values) {
    sum += value / static_cast<double>(values.size());
  }
  return sum;
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

Picture layer_picture(const Shown& run) {
  const auto& method = run.rows[0].method;
  auto rows = rows_of(run, method);
  const bool oracle = method != "oracle" && std::find(run.methods.begin(), run.methods.end(),
                                                      "oracle") != run.methods.end();
  std::vector<std::string> labels;
  for (const auto* row : rows) {
    labels.push_back(fmt::format("tau {}", row->tau));
  }
  Drawing drawing;
  const auto y = draw_legend(drawing, 12, labels, [](std::size_t i) {
    auto style = svg::style_of(i);
    style.dash = "";
    return style;
  });
  const auto layers = run.map->long_share.size();
  const Panel panel{{kMargin, y + 4},
                    kWidth - kMargin - 8,
                    230,
                    {-0.5, static_cast<double>(layers) - 0.5},
                    {0, 1}};
  draw_y_axis(drawing, panel, "share of local decisions");
  draw_layer_axis(drawing, panel);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto style = svg::style_of(i);
    const auto line_of = [&](const HeadTable& table) {
      std::vector<Point> line;
      for (std::size_t layer = 0; layer < layers; ++layer) {
        line.push_back(panel.at(static_cast<double>(layer), 1 - mean(table[layer])));
      }
      return line;
    };
    style.dash = "2 3";
    if (oracle) {
      drawing.polyline(line_of(rows[i]->oracle_long), style, 1.2);
    }
    style.dash = "";
    const auto line = line_of(rows[i]->long_share);
    drawing.polyline(line, style);
    for (std::size_t layer = 0; layer < layers; ++layer) {
      drawing.marker(line[layer], style,
                     fmt::format("layer {}, tau {}: {:.1f} % local", layer, rows[i]->tau,
                                 100 * (1 - mean(rows[i]->long_share[layer]))));
    }
  }
  return {"local-layers", "Local decisions, layer by layer",
          "Mean over the heads of a layer, " + method + " at each tau" +
              (oracle ? "; dotted: the oracle of the same pass." : "."),
          drawing.document(kWidth, panel.bottom() + 44)};
}

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

}  // namespace

std::vector<Picture> pictures_of(const HeadsRun& run) {
  const auto all = shown(run);
  return {loss_picture(all), map_picture(all),   confusion_picture(all), error_picture(all),
          fit_picture(all),  layer_picture(all), rise_picture(all)};
}

}  // namespace motet
