#include <fmt/format.h>

#include <algorithm>

#include "report/map.h"
#include "report/panel.h"
#include "report/tasks/shown.h"

namespace motet::report::tasks {

using svg::Drawing;

std::vector<Picture> gold_pictures(const Shown& run) {
  constexpr double kScale = 56, kHeight = 120;
  std::vector<const TaskRow*> rows;  // without a prefix and a reading, at the largest degree
  for (const auto& task : run.tasks) {
    const TaskRow* most = nullptr;
    for (const auto* row : task.rows) {
      if (row->gold_heads && row->mode == "parallel" &&
          (most == nullptr || place_of(run, row->pieces) > place_of(run, most->pieces))) {
        most = row;
      }
    }
    if (most != nullptr) {
      rows.push_back(most);
    }
  }
  if (rows.empty()) {
    return {};
  }
  Drawing drawing;
  double y = 0;
  const auto width = kWidth - kScale;
  const auto layers = rows[0]->gold_heads->size(), heads = rows[0]->gold_heads->at(0).size();
  for (std::size_t i = 0; i < rows.size(); i += 2) {
    std::vector<Map> maps;
    for (auto j = i; j < std::min(i + 2, rows.size()); ++j) {
      const auto* row = rows[j];
      maps.push_back({fmt::format("{}, P = {} (by chance {:.0f} %)", row->task,
                                  degree_text(row->pieces), 100 * row->gold_chance.value_or(0)),
                      [row](std::size_t l, std::size_t h) {
                        return svg::sequential_color((*row->gold_heads)[l][h]);
                      },
                      [row](std::size_t l, std::size_t h) {
                        return fmt::format("{}, layer {}, head {}: {:.1f} % of rows", row->task, l,
                                           h, 100 * (*row->gold_heads)[l][h]);
                      }});
    }
    const auto wide = maps.size() == 1 ? width / 2 : width;
    draw_scale(drawing, {wide + 10, y + 20}, kHeight, {0, 1}, svg::sequential_color);
    y = draw_maps(drawing, y, wide, kHeight, layers, heads, maps) + 10;
  }
  return {{"gold-heads", "Heads that find the piece with the answer",
           "Parallel reading: share of the rows that predict the gold answer whose piece with the "
           "most probability holds it, mean over items.",
           drawing.document(kWidth, y)}};
}

}  // namespace motet::report::tasks
