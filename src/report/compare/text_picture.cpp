#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "report/compare/shown.h"
#include "report/panel.h"

namespace motet::report {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

Picture text_picture(const std::vector<Shown>& runs, const Styles& styles) {
  constexpr double kHeight = 230, kMargin = 62;
  Drawing drawing;
  auto y = draw_legend(drawing, {kMargin, 12}, labels_of(runs), styles);
  Range range{0, 0};
  for (const auto& run : runs) {
    for (const auto* row : most_pieces(run)) {
      for (const auto& bin : row->entropy_text) {
        range.add(bin.entropy);
      }
    }
  }
  for (const auto& run : runs) {
    y = draw_title(drawing, y, run, runs.size());
    const auto& options = run.run->options;
    const Panel panel{{kMargin, y + 18},
                      kWidth - kMargin - 8,
                      kHeight,
                      {0, static_cast<double>(options.length)},
                      {0, 1.05 * range.high}};
    draw_y_axis(drawing, panel, "attention entropy (nats)");
    draw_x_axis(drawing, panel, "token of the segment");
    const auto rows = most_pieces(run);
    const auto degree =
        (*std::max_element(rows.begin(), rows.end(), [](const auto* a, const auto* b) {
          return a->pieces < b->pieces;
        }))->pieces;
    const auto edges_of = [&](int64_t degree) {
      std::set<int64_t> edges{options.context()};
      int64_t edge = 0;
      for (const auto length : split_tokens(options.context(), degree)) {
        edge += length;
        edges.insert(edge);
      }
      return edges;
    };
    const auto edges = edges_of(degree);
    for (const auto token : edges) {
      const auto x = panel.at(static_cast<double>(token), 0).x;
      const bool query = token == options.context();
      drawing.line({x, panel.corner.y}, {x, panel.bottom()}, query ? "#111" : "#888", 1,
                   query ? "" : "3 3");
    }
    const auto middle = [&](double from, double to) { return panel.at((from + to) / 2, 0).x; };
    const auto context = static_cast<double>(options.context());
    drawing.text({middle(0, context), y + 12},
                 degree == 1 ? "context" : fmt::format("context, {} pieces", degree),
                 Anchor::kMiddle);
    drawing.text({middle(context, static_cast<double>(options.length)), y + 12}, "query",
                 Anchor::kMiddle);
    for (auto row = rows.begin(); row != rows.end(); ++row) {
      // Modes that differ in their reading alone share a context, which is drawn once.
      const bool has_context = std::none_of(rows.begin(), row, [&](const CompareRow* earlier) {
        return earlier->pieces == (*row)->pieces && earlier->prefix_tokens == (*row)->prefix_tokens;
      });
      std::vector<TextBin> bins;
      for (const auto& bin : (*row)->entropy_text) {
        if (has_context || bin.first >= options.context()) {
          bins.push_back(bin);
        }
      }
      const auto label = label_of(**row);
      const auto style = styles.of(label);
      const auto place = [&](const TextBin& bin) {
        return panel.at(static_cast<double>(bin.first) + static_cast<double>(bin.tokens) / 2,
                        bin.entropy);
      };
      std::vector<Point> line;
      const auto draw = [&] {
        if (!line.empty()) {
          drawing.polyline(line, style, 1.5);
        }
        line.clear();
      };
      const auto its_edges = edges_of((*row)->pieces);
      for (const auto& bin : bins) {
        if ((*row)->pieces > 1 && its_edges.contains(bin.first)) {
          draw();
        }
        line.push_back(place(bin));
      }
      draw();
      const auto every = std::max<std::size_t>(1, (*row)->entropy_text.size() / 24);
      for (std::size_t i = every / 2; i < bins.size(); i += every) {
        drawing.marker(
            place(bins[i]), style,
            fmt::format("{}, P = {}, tokens {} to {}: {:.3f} nats", label, (*row)->pieces,
                        bins[i].first, bins[i].first + bins[i].tokens - 1, bins[i].entropy));
      }
    }
    y += kHeight + 66;
  }
  return {
      "entropy-along-the-text", "Attention entropy along the text",
      "Mean over layers and heads of neighbouring tokens, each mode at its largest number of "
      "pieces. It restarts inside every piece (dashed edges) and jumps where the query begins to "
      "read them all. After Zhang et al. 2025, arXiv 2412.16545.",
      drawing.document(kWidth, y)};
}

}  // namespace motet::report
