#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/compare/shown.h"
#include "report/panel.h"

namespace motet::report {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

/// How many keys a row has within a gap; nothing where it was not asked for.
std::optional<double> keys_within(const CompareRow& row, double gap) {
  for (const auto& near : row.near_keys.value_or(std::vector<NearKeys>())) {
    if (near.gap == gap) {
      return near.keys;
    }
  }
  return {};
}

double height_of(double keys) { return std::log10(std::max(keys, 1.0)); }

/// Numbers of keys upwards, 1, 2, 5, 10 and so on.
void draw_keys_axis(Drawing& drawing, const Panel& panel) {
  for (double decade = 1; height_of(decade) <= panel.y.high; decade *= 10) {
    for (const double step : {1, 2, 5}) {
      const auto at = panel.at(panel.x.low, height_of(decade * step));
      if (height_of(decade * step) <= panel.y.high) {
        drawing.line(at, {at.x + panel.width, at.y}, kGrid);
        drawing.text({at.x - 8, at.y + 4}, number(decade * step), Anchor::kEnd, 11);
      }
    }
  }
}

}  // namespace

std::vector<Picture> near_keys_pictures(const std::vector<Shown>& runs, const Styles& styles) {
  std::vector<double> gaps;
  Range y;  // log10
  for (const auto& run : runs) {
    for (const auto& row : run.rows) {
      for (const auto& near : row.near_keys.value_or(std::vector<NearKeys>())) {
        if (std::find(gaps.begin(), gaps.end(), near.gap) == gaps.end()) {
          gaps.push_back(near.gap);
        }
        y.add(height_of(near.keys));
      }
    }
  }
  if (gaps.empty()) {
    return {};
  }
  std::sort(gaps.begin(), gaps.end());
  constexpr double kLeft = 62, kGap = 62, kHeight = 220;
  const auto count = static_cast<double>(gaps.size());
  const auto width = (kWidth - kLeft - 8 - (count - 1) * kGap) / count;
  const auto degrees = degrees_of(runs);
  Drawing drawing;
  auto top = draw_legend(drawing, {kLeft, 12}, labels_of(runs), styles);
  for (const auto& run : runs) {
    top = draw_title(drawing, top, run, runs.size());
    for (std::size_t i = 0; i < gaps.size(); ++i) {
      const Panel panel{{kLeft + static_cast<double>(i) * (width + kGap), top + 26},
                        width,
                        kHeight,
                        {-0.3, static_cast<double>(degrees.size()) - 0.7},
                        {0, y.high + 0.1}};
      draw_keys_axis(drawing, panel);
      draw_degrees(drawing, panel, degrees);
      drawing.text({panel.corner.x, panel.corner.y - 10},
                   fmt::format("keys within {:g} nats", gaps[i]));
      for (const auto& series : run.series) {
        auto rows = series.rows;
        if (run.full != nullptr && rows[0] != run.full) {
          rows.insert(rows.begin(), run.full);
        }
        std::vector<Point> line;
        std::vector<std::string> tips;
        for (const auto* row : rows) {
          if (const auto keys = keys_within(*row, gaps[i])) {
            line.push_back(panel.at(place_of(degrees, row->pieces), height_of(*keys)));
            tips.push_back(fmt::format("{}, P = {}: {:.4g} keys within {:g} nats", label_of(*row),
                                       row->pieces, *keys, gaps[i]));
          }
        }
        const auto style = styles.of(series.label);
        drawing.polyline(line, style);
        for (std::size_t mark = 0; mark < line.size(); ++mark) {
          drawing.marker(line[mark], style, tips[mark]);
        }
      }
    }
    top += kHeight + 84;
  }
  return {{"near-keys", "How many keys compete with the best one",
           "Keys whose score, log weights included, lies within a gap of the row's largest: mean "
           "over layers, heads and query rows; the axis is logarithmic. Every line starts at full "
           "attention (P = 1).",
           drawing.document(kWidth, top)}};
}

}  // namespace motet::report
