#include "report/compare/shown.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "motet/error.h"
#include "report/panel.h"

namespace motet::report {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

std::string title_of(const CompareRun& run) {
  return fmt::format("{} on {} ({} x {} tokens, {} scored, {}, positions {})",
                     run.provenance.model.name, run.provenance.data.name, run.options.segments,
                     run.options.length, run.options.scored, run.provenance.dtype,
                     name_of(run.options.positions));
}

}  // namespace

Shown shown(const CompareRun& run) {
  Shown shown{&run, title_of(run), over_segments(run.segment_rows), {}, nullptr};
  require(!shown.rows.empty(), "motet::pictures_of: the run on ", run.provenance.data.name,
          " has no segment yet; ", Field("resume"), " it first");
  for (const auto& row : shown.rows) {
    const auto label = label_of(row);
    const auto found = std::find_if(shown.series.begin(), shown.series.end(),
                                    [&](const Series& series) { return series.label == label; });
    auto& series =
        found == shown.series.end() ? shown.series.emplace_back(Series{label, {}}) : *found;
    series.rows.push_back(&row);
    if (row.mode == "full") {
      shown.full = &row;
    }
  }
  for (auto& series : shown.series) {
    std::sort(series.rows.begin(), series.rows.end(),
              [](const CompareRow* a, const CompareRow* b) { return a->pieces < b->pieces; });
  }
  return shown;
}

std::vector<std::string> labels_of(const std::vector<Shown>& runs) {
  std::vector<std::string> labels;
  for (const auto& run : runs) {
    for (const auto& series : run.series) {
      if (std::find(labels.begin(), labels.end(), series.label) == labels.end()) {
        labels.push_back(series.label);
      }
    }
  }
  return labels;
}

double draw_title(Drawing& drawing, double y, const Shown& run, std::size_t runs) {
  if (runs < 2) {
    return y;
  }
  drawing.text({0, y + 14}, run.title, Anchor::kStart, 13, "font-weight=\"bold\"");
  return y + 26;
}

std::vector<const CompareRow*> most_pieces(const Shown& run) {
  std::vector<const CompareRow*> rows;
  for (const auto& series : run.series) {
    rows.push_back(series.rows.back());
  }
  return rows;
}

std::vector<int64_t> degrees_of(const std::vector<Shown>& runs) {
  std::set<int64_t> degrees;
  for (const auto& run : runs) {
    for (const auto& row : run.rows) {
      degrees.insert(row.pieces);
    }
  }
  return {degrees.begin(), degrees.end()};
}

double place_of(const std::vector<int64_t>& degrees, int64_t degree) {
  return static_cast<double>(std::find(degrees.begin(), degrees.end(), degree) - degrees.begin());
}

void draw_degrees(Drawing& drawing, const Panel& panel, const std::vector<int64_t>& degrees) {
  for (const auto degree : degrees) {
    const auto x = panel.at(place_of(degrees, degree), panel.y.low).x;
    drawing.line({x, panel.bottom()}, {x, panel.bottom() + 4}, "#111");
    drawing.text({x, panel.bottom() + 17}, std::to_string(degree), Anchor::kMiddle, 11);
  }
  drawing.text({panel.corner.x + panel.width / 2, panel.bottom() + 34},
               "pieces P (1: full attention)", Anchor::kMiddle);
}

}  // namespace motet::report
