// What is said of several modes or tasks together.

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <tuple>

#include "eval/task_table.h"

namespace motet {
namespace {

using torch::Tensor;

/// Ranks of values, those of equal ones their mean.
std::vector<double> ranks_of(const std::vector<double>& values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size());
  for (std::size_t first = 0; first < order.size();) {
    auto last = first;
    while (last < order.size() && values[order[last]] == values[order[first]]) {
      ++last;
    }
    for (auto i = first; i < last; ++i) {
      ranks[order[i]] = static_cast<double>(first + last - 1) / 2;
    }
    first = last;
  }
  return ranks;
}

/// Spearman's rank correlation; NaN where one of them has a single value, or none.
double spearman(const std::vector<double>& a, const std::vector<double>& b) {
  const auto is_number = [](double x) { return std::isfinite(x); };
  if (!std::all_of(a.begin(), a.end(), is_number) || !std::all_of(b.begin(), b.end(), is_number)) {
    return NAN;  // of a draw without an item that all modes have
  }
  const auto x = ranks_of(a), y = ranks_of(b);
  const auto mean = static_cast<double>(x.size() - 1) / 2;
  double xy = 0, xx = 0, yy = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean) * (y[i] - mean);
    xx += (x[i] - mean) * (x[i] - mean);
    yy += (y[i] - mean) * (y[i] - mean);
  }
  return xx > 0 && yy > 0 ? xy / std::sqrt(xx * yy) : NAN;
}

/// The correlation over the modes, of every draw: figures are of each mode.
Interval correlation(const Resamples& draws, const std::vector<ItemFigure>& a,
                     const std::vector<ItemFigure>& b, int64_t items) {
  std::vector<Tensor> of_a, of_b;
  for (std::size_t i = 0; i < a.size(); ++i) {
    of_a.push_back(draws.means(a[i]));
    of_b.push_back(draws.means(b[i]));
  }
  const auto x = torch::stack(of_a, 1).contiguous(), y = torch::stack(of_b, 1).contiguous();
  std::vector<double> values;
  for (int64_t draw = 0; draw < x.size(0); ++draw) {
    const auto row = [&](const Tensor& all) {
      const auto* data = all.const_data_ptr<double>() + draw * all.size(1);
      return std::vector<double>(data, data + all.size(1));
    };
    values.push_back(spearman(row(x), row(y)));
  }
  return std::isfinite(values.back()) ? interval_of(torch::tensor(values, torch::kFloat64), items)
                                      : Interval();
}

/// A figure without the items that are not in every mode.
ItemFigure only(ItemFigure figure, const std::vector<bool>& kept) {
  for (std::size_t i = 0; i < kept.size(); ++i) {
    figure.weight[i] = kept[i] ? figure.weight[i] : 0;
    figure.sum[i] = kept[i] ? figure.sum[i] : 0;
  }
  return figure;
}

ItemFigure score_of(const ModeRows& mode) {
  return figure_of(mode, [](const ItemRow& row) { return row.score; });
}

}  // namespace

std::vector<TaskCorrelation> entropy_correlations(const std::vector<ItemRow>& item_rows) {
  std::vector<TaskCorrelation> all;
  for (const auto& task : task_tables(item_rows)) {
    if (task.modes.size() < 3) {
      continue;
    }
    std::vector<bool> shared(task.items, true), scored(task.items, true);
    for (const auto& mode : task.modes) {
      for (std::size_t i = 0; i < mode.items.size(); ++i) {
        shared[i] = shared[i] && mode.items[i] != nullptr;
        scored[i] = scored[i] && mode.items[i] != nullptr && mode.items[i]->score.has_value();
      }
    }
    TaskCorrelation row{task.name,
                        static_cast<int64_t>(task.modes.size()),
                        std::count(shared.begin(), shared.end(), true),
                        {},
                        {}};
    const auto outputs = std::count(scored.begin(), scored.end(), true);
    const Resamples draws(task.items);
    const auto of_modes = [&](const auto& figure, const std::vector<bool>& kept) {
      std::vector<ItemFigure> figures;
      for (const auto& mode : task.modes) {
        figures.push_back(only(figure(mode), kept));
      }
      return figures;
    };
    if (row.items > 0) {
      const auto entropy = [](const ModeRows& mode) {
        return figure_of(mode, [](const ItemRow& one) { return one.entropy_query; });
      };
      row.nll = correlation(draws, of_modes(entropy, shared), of_modes(nll_of, shared), row.items);
    }
    if (outputs > 0) {
      const auto entropy = [](const ModeRows& mode) {
        return figure_of(mode, [](const ItemRow& one) { return one.entropy_pce; });
      };
      row.score =
          correlation(draws, of_modes(entropy, scored), of_modes(score_of, scored), outputs);
    }
    all.push_back(row);
  }
  return all;
}

std::vector<GroupCell> group_cells(const std::vector<ItemRow>& item_rows) {
  struct Figures {
    std::vector<Tensor> nll, score, entropy;  // of each task
    int64_t items = 0, outputs = 0;           // of the task with the most
  };
  std::map<std::tuple<std::string, int64_t, int64_t, bool>, Figures> cells;
  int64_t stream = 0;  // items of one task have nothing to do with those of another
  for (const auto& task : task_tables(item_rows)) {
    const Resamples draws(task.items, ++stream);
    for (const auto& mode : task.modes) {
      const auto& first = *mode.first;
      const bool named = first.mode == "full" || first.mode == "parallel" || first.mode == "sink" ||
                         first.mode == "selective" || first.mode == "both";
      if (!named) {
        continue;
      }
      auto& cell = cells[{first.group, first.pieces, first.selected, first.prefix_tokens > 0}];
      cell.items = std::max(cell.items, task.items);
      cell.nll.push_back(draws.means(nll_of(mode)));
      const auto score = score_of(mode);
      const auto outputs = std::count_if(score.weight.begin(), score.weight.end(),
                                         [](double weight) { return weight > 0; });
      if (outputs > 0) {
        cell.outputs = std::max<int64_t>(cell.outputs, outputs);
        cell.score.push_back(draws.means(score));
        cell.entropy.push_back(
            draws.means(figure_of(mode, [](const ItemRow& row) { return row.entropy_pce; })));
      }
    }
  }
  std::vector<GroupCell> all;
  for (const auto& [key, figures] : cells) {
    const auto over = [](const std::vector<Tensor>& tasks, int64_t items) {
      return tasks.empty() ? Interval() : interval_of(torch::stack(tasks).mean(0), items);
    };
    const auto& [group, pieces, selected, prefix] = key;
    all.push_back({group, pieces, selected, prefix, static_cast<int64_t>(figures.nll.size()),
                   over(figures.nll, figures.items), over(figures.score, figures.outputs),
                   over(figures.entropy, figures.outputs)});
  }
  return all;
}

}  // namespace motet
