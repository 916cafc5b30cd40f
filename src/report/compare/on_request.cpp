#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "report/compare/shown.h"
#include "report/panel.h"

/// Pictures of what runs keep on request only.
namespace motet::report {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

struct Figure {
  const char* title;
  double Diagnosis::Place::*field;
};

constexpr Figure kFigures[]{{"key norm |k|", &Diagnosis::Place::key_norm},
                            {"value norm |v|", &Diagnosis::Place::value_norm},
                            {"cosine of q and k", &Diagnosis::Place::cosine},
                            {"mean |score|", &Diagnosis::Place::abs_score}};

/// Series that stand for a context: those that differ in their reading alone see the same keys, and
/// an oracle's are not the context's own.
std::vector<const CompareRow*> contexts_of(const Shown& run) {
  std::vector<const CompareRow*> rows;
  for (const auto* row : most_pieces(run)) {
    const bool known = std::any_of(rows.begin(), rows.end(), [&](const CompareRow* other) {
      return other->pieces == row->pieces && other->prefix_tokens == row->prefix_tokens;
    });
    if (row->diagnosis && !known && row->mode != "oracle") {
      rows.push_back(row);
    }
  }
  return rows;
}

/// Where a place stands: logarithmic, since the first places matter. Shown, they count from 1.
double middle_of(const Diagnosis::Place& place) {
  return std::log10(static_cast<double>(place.first + 1) +
                    static_cast<double>(place.tokens - 1) / 2);
}

void draw_log_axis(Drawing& drawing, const Panel& panel) {
  for (double decade = 1; std::log10(decade) <= panel.x.high; decade *= 10) {
    for (int step = 1; step < 10; ++step) {
      const auto x = std::log10(decade * step);
      if (x > panel.x.high) {
        break;
      }
      const auto at = panel.at(x, panel.y.low);
      drawing.line(at, {at.x, at.y + (step == 1 ? 6.0 : 3.0)}, "#111");
      if (step == 1) {
        drawing.text({at.x, at.y + 18}, number(decade), Anchor::kMiddle, 11);
      }
    }
  }
  drawing.text({panel.corner.x + panel.width / 2, panel.bottom() + 34},
               "token of the piece, from 1 on", Anchor::kMiddle);
}

}  // namespace

std::vector<Picture> diagnosis_pictures(const std::vector<Shown>& runs, const Styles& styles) {
  std::vector<std::string> labels;
  Range x{0, 1}, y[std::size(kFigures)];  // x: log10
  for (const auto& run : runs) {
    for (const auto* row : contexts_of(run)) {
      const auto label = label_of(*row);
      if (std::find(labels.begin(), labels.end(), label) == labels.end()) {
        labels.push_back(label);
      }
      for (const auto& place : row->diagnosis->places) {
        x.add(middle_of(place));
        for (std::size_t i = 0; i < std::size(kFigures); ++i) {
          y[i].add(place.*kFigures[i].field);
        }
      }
    }
  }
  if (labels.empty()) {
    return {};
  }
  constexpr double kLeft = 62, kGap = 84, kHeight = 200;
  const auto width = (kWidth - kLeft - kGap - 8) / 2;
  Drawing drawing;
  auto top = draw_legend(drawing, {kLeft, 12}, labels, styles);
  for (const auto& run : runs) {
    const auto rows = contexts_of(run);
    if (rows.empty()) {
      continue;
    }
    top = draw_title(drawing, top, run, runs.size());
    for (std::size_t i = 0; i < std::size(kFigures); ++i) {
      const auto room = std::max(0.06 * (y[i].high - y[i].low), 1e-6);
      const Panel panel{{kLeft + static_cast<double>(i % 2) * (width + kGap),
                         top + 8 + static_cast<double>(i / 2) * (kHeight + 58)},
                        width,
                        kHeight,
                        x,
                        {y[i].low - room, y[i].high + room}};
      draw_y_axis(drawing, panel, kFigures[i].title);
      draw_log_axis(drawing, panel);
      for (const auto* row : rows) {
        const auto label = label_of(*row);
        const auto style = styles.of(label);
        std::vector<Point> line;
        for (const auto& place : row->diagnosis->places) {
          line.push_back(panel.at(middle_of(place), place.*kFigures[i].field));
        }
        drawing.polyline(line, style, 1.5);
        const auto every = std::max<std::size_t>(1, line.size() / 12);
        for (std::size_t mark = 0; mark < line.size(); mark += every) {
          const auto& place = row->diagnosis->places[mark];
          drawing.marker(line[mark], style,
                         fmt::format("{}, P = {}, tokens {} to {}: {} {:.4g}", label, row->pieces,
                                     place.first + 1, place.first + place.tokens, kFigures[i].title,
                                     place.*kFigures[i].field));
        }
      }
    }
    top += 2 * (kHeight + 58) + 16;
  }
  return {{"diagnosis", "What makes scores large or small, by place in the piece",
           "Mean over layers, heads, pieces and query rows, each context at its largest number of "
           "pieces; the axis is logarithmic, since a piece's first tokens are unlike the others. "
           "Scores are scale q.k before the softmax. After Zhang et al. 2025, arXiv 2412.16545, "
           "section 4.",
           drawing.document(kWidth, top)}};
}

std::vector<Picture> attention_pictures(const std::vector<Shown>& runs) {
  constexpr double kLeft = 44, kRight = 64, kHeight = 120, kFloor = 1e-4;
  const Range range{std::log10(kFloor), 0};
  const auto color = [&](double value) {
    constexpr double kShades = 20;
    const auto x = 1 - std::log10(std::max(value, kFloor)) / range.low;
    return svg::sequential_color(std::round(x * kShades) / kShades);
  };
  Drawing drawing;
  double top = 0;
  for (const auto& run : runs) {
    const auto rows = most_pieces(run);
    if (rows.empty() || rows[0]->attention.empty()) {
      continue;
    }
    top = draw_title(drawing, top, run, runs.size());
    for (const auto* row : rows) {
      for (const auto& shown : row->attention) {
        const auto label =
            fmt::format("{}, P = {}, query row {}", label_of(*row), row->pieces, shown.row);
        drawing.text({kLeft, top + 14}, label);
        const Point corner{kLeft, top + 22};
        const auto layers = shown.layers.size();
        const auto last = static_cast<double>(run.run->options.length);
        // BOS and prefix lie before the segment's first token.
        constexpr double kPrefix = 18;
        const auto width = kWidth - kLeft - kRight - kPrefix - 4;
        const auto at = [&](int64_t token) {
          return corner.x + kPrefix + 4 + width * static_cast<double>(token) / last;
        };
        const auto down = kHeight / static_cast<double>(layers);
        for (std::size_t layer = 0; layer < layers; ++layer) {
          const auto y = corner.y + down * static_cast<double>(layer);
          const auto& masses = shown.layers[layer];
          const auto cell = [&](double from, double to, double mass, const std::string& where) {
            drawing.rectangle({from, y}, to - from + 0.3, down + 0.3, color(mass),
                              fmt::format("{}, layer {}, {}: {:.4f}", label, layer, where, mass));
          };
          cell(corner.x, corner.x + kPrefix, masses[0], "prefix");
          for (std::size_t bin = 1; bin < masses.size();) {
            const auto first = bin;  // of bins that look the same
            auto most = masses[bin++];
            while (bin < masses.size() && color(masses[bin]) == color(masses[first])) {
              most = std::max(most, masses[bin++]);
            }
            cell(at(shown.edges[first - 1]), at(shown.edges[bin - 1]), most,
                 fmt::format("tokens {} to {}", shown.edges[first - 1], shown.edges[bin - 1] - 1));
          }
        }
        drawing.upward_text({kLeft - 30, corner.y + kHeight / 2}, "layer");
        drawing.text({kLeft - 6, corner.y + 10}, "0", Anchor::kEnd, 10);
        drawing.text({kLeft - 6, corner.y + kHeight}, std::to_string(layers - 1), Anchor::kEnd, 10);
        drawing.text({corner.x + kPrefix / 2, corner.y + kHeight + 14}, "prefix", Anchor::kMiddle,
                     10);
        for (const auto tick : svg::ticks(0, last, 8)) {
          const auto x = at(static_cast<int64_t>(tick));
          drawing.line({x, corner.y + kHeight}, {x, corner.y + kHeight + 4}, "#111");
          if (tick > 0) {
            drawing.text({x, corner.y + kHeight + 16}, number(tick), Anchor::kMiddle, 10);
          }
        }
        draw_scale(drawing, {kWidth - kRight + 14, corner.y}, kHeight, range,
                   [&](double exponent) { return color(std::pow(10, exponent)); });
        top += kHeight + 52;
      }
    }
  }
  if (top == 0) {
    return {};
  }
  return {{"attention", "Attention itself, of single query rows",
           "Probability of a bin of neighbouring tokens, mean over heads; layers downwards. "
           "Colors are log10 of the probability, from 0.0001 on. The first column is BOS and "
           "prefix.",
           drawing.document(kWidth, top)}};
}

}  // namespace motet::report
