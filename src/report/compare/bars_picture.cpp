#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "report/compare/shown.h"
#include "report/panel.h"

namespace motet::report {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

/// A part of a bar.
struct Slice {
  std::string label, fill;
  std::function<double(const CompareRow&)> value;
};

/// For each run a row of panels, one a mode, of stacked bars against P.
Drawing stacked(const std::vector<Shown>& runs, const std::vector<Slice>& slices,
                const std::string& unit, double top, double& y) {
  Drawing drawing;
  double x = 62;
  for (const auto& slice : slices) {
    drawing.rectangle({x, 4}, 26, 14, slice.fill, "", "stroke=\"#333\" stroke-width=\"0.7\"");
    drawing.text({x + 32, 16}, slice.label);
    x += 54 + 7.0 * static_cast<double>(slice.label.size());
  }
  const auto degrees = degrees_of(runs);
  constexpr double kHeight = 190, kMargin = 62, kGap = 14;
  std::size_t most = 0;
  for (const auto& run : runs) {
    most = std::max(most, run.series.size());
  }
  const auto columns = std::clamp<std::size_t>(most, 3, 5);
  const auto width =
      (kWidth - kMargin - kGap * static_cast<double>(columns - 1)) / static_cast<double>(columns);
  y = 34;
  for (const auto& run : runs) {
    y = draw_title(drawing, y, run, runs.size());
    for (std::size_t i = 0; i < run.series.size(); ++i) {
      const auto column = i % columns;
      const auto& series = run.series[i];
      const Panel panel{{kMargin + static_cast<double>(column) * (width + kGap), y + 20},
                        width,
                        kHeight,
                        {-0.6, static_cast<double>(degrees.size()) - 0.4},
                        {0, top}};
      if (column == 0) {
        draw_y_axis(drawing, panel, unit);
      } else {
        for (const auto tick : svg::ticks(0, top, 5)) {
          const auto at = panel.at(panel.x.low, tick);
          drawing.line(at, {at.x + width, at.y}, kGrid);
        }
        drawing.line({panel.corner.x, panel.bottom()}, {panel.corner.x + width, panel.bottom()},
                     "#111");
      }
      drawing.text({panel.corner.x + width / 2, y + 13}, series.label, Anchor::kMiddle);
      const auto bar = std::min(46.0, 0.7 * width / static_cast<double>(degrees.size()));
      for (const auto degree : degrees) {
        const auto at = panel.at(place_of(degrees, degree), 0).x;
        drawing.text({at, panel.bottom() + 15}, std::to_string(degree), Anchor::kMiddle, 11);
      }
      for (const auto* row : series.rows) {
        const auto center = panel.at(place_of(degrees, row->pieces), 0).x;
        double below = 0;
        for (const auto& slice : slices) {
          const auto value = slice.value(*row);
          const auto low = panel.at(0, below).y, high = panel.at(0, below + value).y;
          drawing.rectangle(
              {center - bar / 2, high}, bar, low - high, slice.fill,
              fmt::format("{}, P = {}: {} {:.4f}", series.label, row->pieces, slice.label, value),
              "stroke=\"#333\" stroke-width=\"0.7\"");
          below += value;
        }
      }
      if (column + 1 == columns || i + 1 == run.series.size()) {
        drawing.text({kMargin + (kWidth - kMargin) / 2, panel.bottom() + 32}, "pieces P",
                     Anchor::kMiddle);
        y += kHeight + 62;
      }
    }
  }
  return drawing;
}

}  // namespace

Picture parts_picture(const std::vector<Shown>& runs) {
  double most = 0;
  for (const auto& run : runs) {
    for (const auto& row : run.rows) {
      most = std::max(most, row.entropy_tok);
    }
  }
  double height = 0;
  const auto drawing = stacked(
      runs,
      {{"within the sets", "#7f9fb8", [](const CompareRow& row) { return row.entropy_within; }},
       {"between them", "url(#between)",
        [](const CompareRow& row) { return row.entropy_between; }}},
      "attention entropy (nats)", 1.08 * most, height);
  return {
      "entropy-parts", "What entropy is made of: hesitation between the sets, and within them",
      "The sets of a row are the prefix, each piece, and the query's own tokens. Entropy = between "
      "+ within (chain rule); mean over layers, heads and query tokens.",
      drawing.document(kWidth, height)};
}

Picture mass_picture(const std::vector<Shown>& runs) {
  double height = 0;
  const auto pieces = [](const CompareRow& row) {
    return std::max(0.0, 1 - row.mass_prefix - row.mass_own - row.mass_null.value_or(0));
  };
  std::vector<Slice> slices{
      {"own tokens", "#4a4a4a", [](const CompareRow& row) { return row.mass_own; }},
      {"the best piece", "#4d8fbf", [](const CompareRow& row) { return row.mass_top_piece; }},
      {"other pieces", "url(#pieces)",
       [=](const CompareRow& row) { return std::max(0.0, pieces(row) - row.mass_top_piece); }},
      {"prefix", "#f0f0f0", [](const CompareRow& row) { return row.mass_prefix; }}};
  const auto has_null = [](const CompareRow& row) { return row.mass_null.has_value(); };
  if (std::any_of(runs.begin(), runs.end(), [&](const Shown& run) {
        return std::any_of(run.rows.begin(), run.rows.end(), has_null);
      })) {
    slices.push_back({"the set without keys", "#fff3c4",
                      [](const CompareRow& row) { return row.mass_null.value_or(0); }});
  }
  const auto drawing = stacked(runs, slices, "probability", 1, height);
  return {
      "masses", "Where the probability goes",
      "Mean over layers, heads and query tokens. The best piece is each row's own: the one with "
      "the most probability.",
      drawing.document(kWidth, height)};
}

}  // namespace motet::report
