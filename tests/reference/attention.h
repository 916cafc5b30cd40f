#pragma once

#include <torch/types.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "motet/attention/rows.h"

/// The naive twin: one row at a time, in float64, from the definition. Differentiable by LibTorch's
/// autograd, through the keys that the row sees and no others.
namespace motet::reference {

struct Visible {
  std::vector<int64_t> keys, sets;
};

/// The keys that `row` sees, and their sets, in the order of the spans.
inline Visible visible(const KeySets& sets, int64_t row) {
  Visible seen;
  for (const auto& span : sets.spans()) {
    const auto i = row - span.first_row;
    if (i < 0 || i >= span.rows) continue;
    const auto last = span.causal ? span.keys - span.rows + i + 1 : span.keys;
    const auto first = span.first_visible.empty() ? 0 : span.first_visible[i];
    for (int64_t key = first; key < last; ++key) {
      seen.keys.push_back(span.first_key + key);
      seen.sets.push_back(span.set);
    }
  }
  return seen;
}

inline std::vector<double> values_of(const torch::Tensor& x) {
  const auto plain = x.contiguous();
  return {plain.data_ptr<double>(), plain.data_ptr<double>() + plain.numel()};
}

/// Which of a row's scores are its largest, and the threshold that parts them from the rest: -inf
/// where `keys` of the row, of which some may be dropped, are no more than k.
inline std::pair<std::vector<bool>, double> largest(const std::vector<double>& scores,
                                                    const std::vector<bool>& free, int64_t keys,
                                                    const KeyBudget& budget) {
  constexpr auto none = -std::numeric_limits<double>::infinity();
  std::vector<double> order;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    if (!free[j]) order.push_back(scores[j]);
  }
  std::sort(order.rbegin(), order.rend());
  auto k = budget.keys;
  if (budget.share) {
    k = 1;
    while (static_cast<double>(k) < *budget.share * static_cast<double>(keys) - 1e-9) ++k;
  }
  if (keys <= k || static_cast<int64_t>(order.size()) <= k) {
    return {std::vector<bool>(scores.size(), true), none};
  }
  const auto least = order[k - 1];
  double outside = none;
  std::vector<bool> inside;
  for (std::size_t j = 0; j < scores.size(); ++j) {
    inside.push_back(free[j] || scores[j] >= least);
    if (!inside.back()) outside = std::max(outside, scores[j]);
  }
  return {inside, (least + outside) / 2};
}

inline Row attend(const torch::Tensor& query, const torch::Tensor& keys,
                  const torch::Tensor& values, const KeySets& sets,
                  const std::optional<torch::Tensor>& log_weight = {},
                  const RowOptions& options = {}) {
  const auto f64 = torch::TensorOptions().dtype(torch::kFloat64);
  const auto q = query.to(torch::kFloat64), k = keys.to(torch::kFloat64),
             v = values.to(torch::kFloat64);
  const auto batch = q.size(0), heads = q.size(1), rows = q.size(2), group = heads / k.size(1);
  const auto scale = options.rule.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3))));
  const auto none = torch::tensor(-std::numeric_limits<double>::infinity(), f64);
  const auto zero = torch::tensor(0.0, f64);
  std::vector<torch::Tensor> outs, lses, entropies, set_lses, set_entropies, masses, thresholds;
  for (int64_t b = 0; b < batch; ++b) {
    const auto kb = k.size(0) == 1 ? 0 : b;
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t row = 0; row < rows; ++row) {
        const auto seen = visible(sets, row);
        const auto weights = log_weight ? (*log_weight)[b][h][row].detach().to(torch::kFloat64)
                                        : torch::zeros({sets.sets()}, f64);
        const auto of_sets = values_of(weights);
        std::vector<double> factor, shift;
        for (const auto set : seen.sets) {
          factor.push_back(sets.factor(set));
          shift.push_back(of_sets[set]);
        }
        std::vector<int64_t> kept;  // of `seen`
        const auto keys_seen = k[kb][h / group].index_select(0, torch::tensor(seen.keys));
        auto raw = keys_seen.matmul(q[b][h][row]) * scale;
        if (options.rule.cap) raw = *options.rule.cap * torch::tanh(raw / *options.rule.cap);
        raw = raw * torch::tensor(factor, f64);
        if (options.factor) raw = raw * options.factor->expand({batch, heads, rows})[b][h][row];
        const auto scores = values_of(raw.detach());
        const auto threshold = options.threshold ? (*options.threshold)[b][h][row].item<double>()
                                                 : -std::numeric_limits<double>::infinity();
        for (std::size_t j = 0; j < seen.keys.size(); ++j) {
          const bool below = scores[j] + shift[j] < threshold;
          if (!below && shift[j] != -std::numeric_limits<double>::infinity()) kept.push_back(j);
        }
        const auto index = torch::tensor(kept, torch::kInt64);
        auto s = raw.index_select(0, index);
        const auto owner = torch::tensor(seen.sets, torch::kInt64).index_select(0, index);
        if (log_weight) {
          s = s + (*log_weight)[b][h][row].to(torch::kFloat64).index_select(0, owner);
        }
        const auto add = [&](const torch::Tensor& scores, std::vector<torch::Tensor>& lse,
                             std::vector<torch::Tensor>& entropy) {
          const bool empty = scores.numel() == 0;
          lse.push_back(empty ? none : torch::logsumexp(scores, 0));
          const auto log_p = torch::log_softmax(scores, 0);
          entropy.push_back(empty ? zero : -(log_p.exp() * log_p).sum());
        };
        add(s, lses, entropies);
        if (options.budget.wanted()) {
          std::vector<bool> free;
          int64_t counted = 0;  // of those that are not dropped with their set
          const auto is_free = [&](int64_t j) {
            return !options.budget.counts_first && seen.keys[j] == 0;
          };
          for (std::size_t j = 0; j < shift.size(); ++j) {
            counted += shift[j] != -std::numeric_limits<double>::infinity() && !is_free(j) ? 1 : 0;
          }
          for (const auto j : kept) free.push_back(is_free(j));
          const auto [inside, parting] =
              largest(values_of(s.detach()), free, counted, options.budget);
          std::vector<int64_t> members;
          for (std::size_t j = 0; j < inside.size(); ++j) {
            if (inside[j]) members.push_back(static_cast<int64_t>(j));
          }
          thresholds.push_back(torch::tensor(parting, f64));
          masses.push_back(
              parting == -std::numeric_limits<double>::infinity()
                  ? torch::tensor(1.0, f64)
                  : torch::softmax(s, 0).index_select(0, torch::tensor(members)).sum());
        }
        const auto values_seen = v[kb][h / group].index_select(0, torch::tensor(seen.keys));
        outs.push_back(torch::softmax(s, 0).matmul(values_seen.index_select(0, index)));
        for (int64_t set = 0; set < sets.sets(); ++set) {
          add(s.masked_select(owner == set), set_lses, set_entropies);
        }
      }
    }
  }
  const auto shaped = [&](const std::vector<torch::Tensor>& x, int64_t last) {
    const auto flat = torch::stack(x);
    return last == 0 ? flat.view({batch, heads, rows}) : flat.view({batch, heads, rows, last});
  };
  return {shaped(outs, v.size(3)),
          shaped(lses, 0),
          shaped(entropies, 0),
          shaped(set_lses, sets.sets()),
          shaped(set_entropies, sets.sets()),
          torch::Tensor(),
          options.budget.wanted() ? shaped(masses, 0) : torch::Tensor(),
          options.budget.wanted() ? shaped(thresholds, 0) : torch::Tensor()};
}

/// The largest difference of two tensors in float64; equal infinities do not differ, NaN differs
/// from everything.
inline double max_error(const torch::Tensor& a, const torch::Tensor& b) {
  const auto x = a.to(torch::kFloat64), y = b.to(torch::kFloat64);
  const auto error = torch::where(x == y, torch::zeros_like(x), (x - y).abs());
  return error.numel() == 0
             ? 0.0
             : error.nan_to_num(std::numeric_limits<double>::infinity()).max().item<double>();
}

}  // namespace motet::reference
