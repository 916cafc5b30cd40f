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

struct Curve {
  std::string title;
  std::function<double(const CompareRow&)> value;
  std::function<std::optional<double>(const CompareRow&)> error;  // of ln(value)
};

}  // namespace

Picture degree_picture(const std::vector<Shown>& runs, const Styles& styles) {
  const std::vector<Curve> curves{
      {"perplexity", [](const CompareRow& row) { return row.perplexity; },
       [](const CompareRow& row) { return row.delta_stderr; }},
      {"attention entropy (nats)", [](const CompareRow& row) { return row.entropy_tok; },
       [](const CompareRow&) -> std::optional<double> { return {}; }}};
  const auto degrees = degrees_of(runs);
  constexpr double kHeight = 260, kMargin = 62;
  const auto width = (kWidth - 2 * kMargin - 20) / 2;
  Drawing drawing;
  auto y = draw_legend(drawing, {kMargin, 12}, labels_of(runs), styles);
  std::vector<Range> ranges;
  for (const auto& curve : curves) {
    Range range;
    for (const auto& run : runs) {
      for (const auto& row : run.rows) {
        const auto error = curve.error(row).value_or(0);
        range.add(curve.value(row) * std::exp(-error));
        range.add(curve.value(row) * std::exp(error));
      }
    }
    const auto room = std::max(0.05 * (range.high - range.low), 1e-3 * std::abs(range.high));
    ranges.push_back({range.low - room, range.high + room});
  }
  for (const auto& run : runs) {
    y = draw_title(drawing, y, run, runs.size());
    for (std::size_t i = 0; i < curves.size(); ++i) {
      const auto& curve = curves[i];
      const Panel panel{{kMargin + static_cast<double>(i) * (width + kMargin + 20), y + 6},
                        width,
                        kHeight,
                        {-0.3, static_cast<double>(degrees.size()) - 0.7},
                        ranges[i]};
      draw_y_axis(drawing, panel, curve.title);
      draw_degrees(drawing, panel, degrees);
      const auto beside = [&](const CompareRow& row, const Series& series) {
        // Bars of modes that meet stand beside each other.
        const auto i = static_cast<double>(&series - run.series.data());
        const auto middle = static_cast<double>(run.series.size()) / 2;
        const auto place = place_of(degrees, row.pieces);
        return row.pieces == 1 || !curve.error(row) ? place : place + 0.035 * (i - middle);
      };
      for (const auto& series : run.series) {
        const auto style = styles.of(series.label);
        std::vector<Point> line;
        if (run.full != nullptr && series.rows[0] != run.full) {
          line.push_back(panel.at(place_of(degrees, 1), curve.value(*run.full)));
        }
        for (const auto* row : series.rows) {
          line.push_back(panel.at(beside(*row, series), curve.value(*row)));
        }
        drawing.polyline(line, style);
      }
      for (const auto& series : run.series) {
        const auto style = styles.of(series.label);
        for (const auto* row : series.rows) {
          const auto x = beside(*row, series);
          const auto value = curve.value(*row);
          auto tip =
              fmt::format("{}, P = {}: {} {:.4g}", series.label, row->pieces, curve.title, value);
          if (const auto error = curve.error(*row); error && *error > 0) {
            const auto low = panel.at(x, value * std::exp(-*error)),
                       high = panel.at(x, value * std::exp(*error));
            drawing.line(low, high, style.color, 1.2);
            tip += fmt::format(", nll {:+.4f} ± {:.4f} nats against full", *row->delta_nll, *error);
          }
          drawing.marker(panel.at(x, value), style, tip);
        }
      }
    }
    y += kHeight + 58;
  }
  return {
      "perplexity-entropy", "Perplexity and attention entropy against the number of pieces",
      "Left: perplexity of the scored tokens; bars: one standard error of the paired difference "
      "from full attention. Right: entropy of attention, mean over layers, heads and query "
      "tokens. Every line starts at full attention (P = 1). The layout of figure 2 of Zhang et "
      "al. 2025, arXiv 2412.16545.",
      drawing.document(kWidth, y)};
}

}  // namespace motet::report
