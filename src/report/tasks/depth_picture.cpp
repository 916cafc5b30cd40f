#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "report/panel.h"
#include "report/tasks/shown.h"

namespace motet::report::tasks {

using svg::Anchor;
using svg::Drawing;
using svg::Point;

namespace {

constexpr std::size_t kBins = 5;

/// Mean loss a token of items whose answer lies so deep.
struct Depths {
  std::array<double, kBins> nll{}, tokens{};
  std::array<int64_t, kBins> items{};
};

std::size_t bin_of(double depth) {
  return std::min(kBins - 1, static_cast<std::size_t>(depth * kBins));
}

/// A row of TaskRow's kind, of the items of a run.
Depths depths_of(const TasksRun& run, const TaskRow& row) {
  Depths depths;
  for (const auto& item : run.item_rows) {
    if (item.task == row.task && item.mode == row.mode && item.reading == row.reading &&
        item.pieces == row.pieces && (item.prefix_tokens > 0) == (row.prefix_tokens > 0) &&
        item.depth) {
      const auto bin = bin_of(*item.depth);
      depths.nll[bin] += item.answer_nll;
      depths.tokens[bin] += static_cast<double>(item.answer_tokens);
      ++depths.items[bin];
    }
  }
  return depths;
}

}  // namespace

std::vector<Picture> depth_pictures(const Shown& run) {
  constexpr double kRow = 20, kLabel = 260, kCell = 92;
  Drawing drawing;
  double y = 6;
  bool any = false;
  Range range{0, 0};
  for (const int pass : {0, 1}) {  // the scale first
    for (const auto& task : run.tasks) {
      const auto deep = depths_of(*run.run, *task.rows[0]);
      if (std::count_if(deep.items.begin(), deep.items.end(), [](int64_t n) { return n > 0; }) <
          2) {
        continue;
      }
      any = true;
      if (pass == 1) {
        drawing.text({4, y + 10}, task.name, Anchor::kStart, 13, "font-weight=\"bold\"");
        for (std::size_t bin = 0; bin < kBins; ++bin) {
          drawing.text({kLabel + kCell * (static_cast<double>(bin) + 0.5), y + 10},
                       fmt::format("{}–{} % ({})", 100 * bin / kBins, 100 * (bin + 1) / kBins,
                                   deep.items[bin]),
                       Anchor::kMiddle, 11);
        }
        y += 18;
      }
      for (const auto* row : task.rows) {
        const auto depths = depths_of(*run.run, *row);
        for (std::size_t bin = 0; bin < kBins; ++bin) {
          if (depths.items[bin] == 0) {
            if (pass == 1) {
              drawing.rectangle({kLabel + kCell * static_cast<double>(bin), y}, kCell - 1, kRow - 1,
                                "#f4f4f4");
            }
            continue;
          }
          const auto nll = depths.nll[bin] / depths.tokens[bin];
          if (pass == 0) {
            range.add(nll);
            continue;
          }
          const Point at{kLabel + kCell * static_cast<double>(bin), y};
          const auto share = nll / std::max(range.high, 1e-9);
          drawing.rectangle(
              at, kCell - 1, kRow - 1, svg::sequential_color(share),
              fmt::format("{}, {}, P = {}, depth {}–{} %: {:.3f} nats a token, {} "
                          "items",
                          task.name, label_of(*row), degree_text(row->pieces), 100 * bin / kBins,
                          100 * (bin + 1) / kBins, nll, depths.items[bin]));
          drawing.text({at.x + kCell / 2, at.y + 14}, fmt::format("{:.2f}", nll), Anchor::kMiddle,
                       11, share > 0.55 ? "fill=\"#111\"" : "fill=\"#fff\"");
        }
        if (pass == 1) {
          drawing.text({kLabel - 8, y + 14},
                       fmt::format("{}, P = {}", label_of(*row), degree_text(row->pieces)),
                       Anchor::kEnd, 11);
          y += kRow;
        }
      }
      y += pass == 1 ? 16 : 0;
    }
  }
  if (!any) {
    return {};
  }
  draw_scale(drawing, {kLabel + kCell * kBins + 24, 24}, 160, range, [&](double value) {
    return svg::sequential_color(value / std::max(range.high, 1e-9));
  });
  return {
      {"task-depth", "Where the answer lies in the context",
       "Loss of the gold answer, nats a token, by the depth of the unit that holds it: 0 % is "
       "the first unit, 100 % the one before the query. In brackets: items so deep; light grey: "
       "none.",
       drawing.document(kWidth, y)}};
}

}  // namespace motet::report::tasks
