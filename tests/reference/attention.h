#pragma once

#include <torch/torch.h>

#include <limits>
#include <optional>
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
    for (int64_t key = 0; key < last; ++key) {
      seen.keys.push_back(span.first_key + key);
      seen.sets.push_back(span.set);
    }
  }
  return seen;
}

inline Row attend(const torch::Tensor& query, const torch::Tensor& keys,
                  const torch::Tensor& values, const KeySets& sets,
                  const std::optional<torch::Tensor>& log_weight = {},
                  const RowOptions& options = {}) {
  const auto f64 = torch::TensorOptions().dtype(torch::kFloat64);
  const auto q = query.to(torch::kFloat64), k = keys.to(torch::kFloat64),
             v = values.to(torch::kFloat64);
  const auto batch = q.size(0), heads = q.size(1), rows = q.size(2), group = heads / k.size(1);
  const auto scale = options.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3))));
  const auto none = torch::tensor(-std::numeric_limits<double>::infinity(), f64);
  const auto zero = torch::tensor(0.0, f64);
  std::vector<torch::Tensor> outs, lses, entropies, set_lses, set_entropies;
  for (int64_t b = 0; b < batch; ++b) {
    const auto kb = k.size(0) == 1 ? 0 : b;
    for (int64_t h = 0; h < heads; ++h) {
      for (int64_t row = 0; row < rows; ++row) {
        const auto seen = visible(sets, row);
        std::vector<double> factor, shift;
        for (const auto set : seen.sets) {
          factor.push_back(sets.factor(set));
          shift.push_back(log_weight ? (*log_weight)[b][h][row][set].item<double>() : 0.0);
        }
        std::vector<int64_t> kept;  // of `seen`
        const auto keys_seen = k[kb][h / group].index_select(0, torch::tensor(seen.keys));
        const auto raw = keys_seen.matmul(q[b][h][row]) * torch::tensor(factor, f64) * scale;
        for (std::size_t j = 0; j < seen.keys.size(); ++j) {
          const bool below = options.threshold &&
                             raw[j].item<double>() < (*options.threshold)[b][h][row].item<double>();
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
  return {shaped(outs, v.size(3)), shaped(lses, 0), shaped(entropies, 0),
          shaped(set_lses, sets.sets()), shaped(set_entropies, sets.sets())};
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
