#include "report/heads/shown.h"

#include <algorithm>

#include "motet/error.h"
#include "report/panel.h"

namespace motet::report::heads {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

HeadKind kind_of(double long_share) {
  return long_share >= kOften       ? HeadKind::kLong
         : long_share <= 1 - kOften ? HeadKind::kLocal
                                    : HeadKind::kSwitching;
}

Shown shown(const HeadsRun& run) {
  require(!run.segment_rows.empty() && !run.segment_full.empty(), "motet::pictures_of: the run on ",
          run.provenance.data.name, " has no method yet; ", Field("resume"), " it first");
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

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const auto value : values) {
    sum += value / static_cast<double>(values.size());
  }
  return sum;
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

std::string share_color(double share) { return svg::sequential_color(share); }

}  // namespace motet::report::heads
