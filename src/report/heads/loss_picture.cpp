#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "report/heads/shown.h"
#include "report/panel.h"

namespace motet::report::heads {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

/// The same method looks the same in every picture.
svg::Style style_of(const std::string& method) {
  constexpr std::array kOrder{"adaptive", "oracle", "static", "random", "pattern"};
  return svg::style_of(std::find(kOrder.begin(), kOrder.end(), method) - kOrder.begin());
}

}  // namespace

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

}  // namespace motet::report::heads
