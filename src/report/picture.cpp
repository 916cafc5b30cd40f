#include "motet/report/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "motet/error.h"
#include "report/panel.h"

namespace motet {
namespace {

using namespace report;
using svg::Anchor;
using svg::Drawing;
using svg::Point;

std::vector<int64_t> degrees_of(const std::vector<Shown>& runs) {
  std::set<int64_t> degrees;
  for (const auto& run : runs) {
    for (const auto& row : run.rows) {
      degrees.insert(row.pieces);
    }
  }
  return {degrees.begin(), degrees.end()};
}

/// Where a degree stands: degrees side by side.
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

struct Curve {
  std::string title;
  std::function<double(const CompareRow&)> value;
  std::function<std::optional<double>(const CompareRow&)> error;  // of ln(value)
};

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

/// Cells [layers][heads] with their colors; layers to the right, heads downwards.
void draw_map(Drawing& drawing, Point corner, double width, double height,
              const std::vector<std::vector<double>>& cells,
              const std::function<std::string(double)>& color, const std::string& label,
              bool marks_falls) {
  const auto layers = cells.size(), heads = cells[0].size();
  const auto across = width / static_cast<double>(layers);
  const auto down = height / static_cast<double>(heads);
  for (std::size_t layer = 0; layer < layers; ++layer) {
    for (std::size_t head = 0; head < heads; ++head) {
      const auto value = cells[layer][head];
      const Point at{corner.x + across * static_cast<double>(layer),
                     corner.y + down * static_cast<double>(head)};
      drawing.rectangle(
          at, across + 0.3, down + 0.3, color(value),
          fmt::format("{}, layer {}, head {}: {:.3f} nats", label, layer, head, value));
      if (marks_falls && value < 0) {
        drawing.dot({at.x + across / 2, at.y + down / 2}, std::min(across, down) / 6, "#111");
      }
    }
  }
}

std::vector<std::vector<double>> difference(const std::vector<std::vector<double>>& a,
                                            const std::vector<std::vector<double>>& b) {
  auto d = a;
  for (std::size_t layer = 0; layer < d.size(); ++layer) {
    for (std::size_t head = 0; head < d[layer].size(); ++head) {
      d[layer][head] -= b[layer][head];
    }
  }
  return d;
}

Picture map_picture(const std::vector<Shown>& runs) {
  Range entropy;
  double change = 1e-3;
  std::size_t most = 0;
  for (const auto& run : runs) {
    for (const auto* row : most_pieces(run)) {
      for (const auto& layer : row->entropy_heads) {
        std::for_each(layer.begin(), layer.end(), [&](double value) { entropy.add(value); });
      }
      if (run.full != nullptr) {
        for (const auto& layer : difference(row->entropy_heads, run.full->entropy_heads)) {
          for (const auto value : layer) {
            change = std::max(change, std::abs(value));
          }
        }
      }
    }
    most = std::max(most, run.series.size());
  }
  entropy.low = std::min(0.0, entropy.low);
  const auto of_entropy = [&](double value) {
    return svg::sequential_color((value - entropy.low) / (entropy.high - entropy.low));
  };
  const auto of_change = [&](double value) { return svg::diverging_color(value / change); };
  constexpr double kLeft = 44, kRight = 56, kGap = 16, kHeight = 120;
  const auto columns = std::clamp<std::size_t>(most, 3, 5);
  const auto width = (kWidth - kLeft - kRight - kGap * static_cast<double>(columns - 1)) /
                     static_cast<double>(columns);
  Drawing drawing;
  double y = 0;
  for (const auto& run : runs) {
    y = draw_title(drawing, y, run, runs.size());
    const auto rows = most_pieces(run);
    for (std::size_t first = 0; first < rows.size(); first += columns) {
      const auto last = std::min(rows.size(), first + columns);
      const auto lines = run.full != nullptr ? 2 : 1;
      for (int line = 0; line < lines; ++line) {
        const auto top = y + 22 + line * (kHeight + 20);
        for (auto i = first; i < last; ++i) {
          const auto& row = *rows[i];
          const auto label = fmt::format("{}, P = {}", label_of(row), row.pieces);
          const Point corner{kLeft + static_cast<double>(i - first) * (width + kGap), top};
          if (line == 0) {
            drawing.text({corner.x + width / 2, top - 7}, label, Anchor::kMiddle);
            draw_map(drawing, corner, width, kHeight, row.entropy_heads, of_entropy, label, false);
          } else if (&row != run.full) {
            draw_map(drawing, corner, width, kHeight,
                     difference(row.entropy_heads, run.full->entropy_heads), of_change,
                     label + " - full", true);
          } else {
            drawing.text({corner.x + width / 2, top + kHeight / 2},
                         "change against full:", Anchor::kMiddle, 12, "fill=\"#555\"");
          }
          const auto layers = row.entropy_heads.size(), heads = row.entropy_heads[0].size();
          if (i == first) {
            drawing.upward_text({corner.x - 28, top + kHeight / 2}, "head");
            drawing.text({corner.x - 6, top + 10}, "0", Anchor::kEnd, 10);
            drawing.text({corner.x - 6, top + kHeight}, std::to_string(heads - 1), Anchor::kEnd,
                         10);
          }
          if (line + 1 == lines) {
            drawing.text({corner.x, top + kHeight + 13}, "0", Anchor::kStart, 10);
            drawing.text({corner.x + width / 2, top + kHeight + 13}, "layer", Anchor::kMiddle, 11);
            drawing.text({corner.x + width, top + kHeight + 13}, std::to_string(layers - 1),
                         Anchor::kEnd, 10);
          }
        }
        const Point scale{kWidth - kRight + 10, top};
        line == 0 ? draw_scale(drawing, scale, kHeight, entropy, of_entropy)
                  : draw_scale(drawing, scale, kHeight, {-change, change}, of_change);
      }
      y += 22 + lines * (kHeight + 20) + 12;
    }
  }
  return {
      "entropy-maps", "Attention entropy of every head, and its change against full attention",
      "Mean over query tokens, in nats, of each mode at its largest number of pieces. Below: the "
      "change against full attention; a dot marks heads whose entropy falls.",
      drawing.document(kWidth, y)};
}

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
    return std::max(0.0, 1 - row.mass_prefix - row.mass_own);
  };
  const auto drawing = stacked(
      runs,
      {{"own tokens", "#4a4a4a", [](const CompareRow& row) { return row.mass_own; }},
       {"the best piece", "#4d8fbf", [](const CompareRow& row) { return row.mass_top_piece; }},
       {"other pieces", "url(#pieces)",
        [=](const CompareRow& row) { return std::max(0.0, pieces(row) - row.mass_top_piece); }},
       {"prefix", "#f0f0f0", [](const CompareRow& row) { return row.mass_prefix; }}},
      "probability", 1, height);
  return {
      "masses", "Where the probability goes",
      "Mean over layers, heads and query tokens. The best piece is each row's own: the one with "
      "the most probability.",
      drawing.document(kWidth, height)};
}

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

}  // namespace

std::vector<Picture> pictures_of(const std::vector<Run>& runs) {
  require(!runs.empty(), "motet::pictures_of: no run");
  std::vector<Shown> all;
  all.reserve(runs.size());  // series point into rows
  for (const auto& run : runs) {
    all.push_back(shown(run));
  }
  const Styles styles(all);
  std::vector<Picture> pictures{degree_picture(all, styles), map_picture(all), parts_picture(all),
                                text_picture(all, styles), mass_picture(all)};
  for (const auto& more : {diagnosis_pictures(all, styles), attention_pictures(all)}) {
    pictures.insert(pictures.end(), more.begin(), more.end());
  }
  return pictures;
}

}  // namespace motet
