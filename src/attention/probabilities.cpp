#include "motet/attention/probabilities.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "motet/error.h"

namespace motet {

using torch::Tensor;

Tensor probabilities(const Tensor& query, torch::TensorList keys, const KeySets& sets,
                     const std::optional<Tensor>& log_weight, const Tensor& lse,
                     const std::vector<int64_t>& rows, const RowOptions& options) {
  for (const auto row : rows) {
    require(row >= 0 && row < sets.rows(), "motet::probabilities: row ", row, " of ", sets.rows());
  }
  const auto chosen = torch::tensor(rows, torch::kInt64).to(query.device());
  const auto q = query.index_select(2, chosen).to(lse.scalar_type());
  const bool shared = std::all_of(keys.begin(), keys.end(),
                                  [](const Tensor& tensor) { return tensor.size(0) == 1; });
  std::vector<Tensor> list;
  for (const auto& tensor : keys) {
    list.push_back(tensor.expand({shared ? 1 : query.size(0), -1, -1, -1}));
  }
  const auto k = torch::cat(list, 2).to(lse.scalar_type());
  // Query heads of a group side by side: grouped keys are not copied.
  const auto kv_heads = k.size(1), count = static_cast<int64_t>(rows.size());
  const auto scores = options.rule.scores(
      torch::matmul(q.unflatten(1, {kv_heads, -1}).flatten(2, 3), k.transpose(2, 3))
          .unflatten(2, {-1, count})
          .flatten(1, 2),
      query.size(3));  // [batch, heads, rows, keys]
  auto p = torch::zeros_like(scores);
  const auto factor =
      options.factor
          ? std::optional(options.factor->to(query.device()).expand(query.sizes().slice(0, 3)))
          : std::nullopt;
  for (const auto& span : sets.spans()) {
    for (int64_t i = 0; i < count; ++i) {
      const auto row = rows[i] - span.first_row;
      if (row < 0 || row >= span.rows) {
        continue;
      }
      const auto seen = span.seen_by(row);
      if (seen.size() == 0) {
        continue;
      }
      const auto first = span.first_key + seen.first, last = span.first_key + seen.last;
      auto s = scores.select(2, i).slice(2, first, last) * sets.factor(span.set);
      if (factor) {
        s = s * factor->select(2, rows[i]).unsqueeze(2);
      }
      if (log_weight) {
        s = s + log_weight->select(2, rows[i]).select(2, span.set).unsqueeze(2);
      }
      if (options.threshold) {
        const auto least = options.threshold->index({at::indexing::Slice(), at::indexing::Slice(),
                                                     at::indexing::Slice(rows[i], rows[i] + 1)});
        s = s.masked_fill(s < least, -INFINITY);
      }
      // A row without any key has lse -inf, and no probability anywhere.
      p.select(2, i)
          .slice(2, first, last)
          .copy_((s - lse.select(2, rows[i]).unsqueeze(2)).exp().nan_to_num(0.0));
    }
  }
  return p;
}

}  // namespace motet
