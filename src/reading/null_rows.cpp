#include "reading/null_rows.h"

#include <ATen/ATen.h>

#include "attention/infinity.h"
#include "attention/merging.h"

namespace motet {

using torch::Tensor;

void add_null(PieceScores& scores) {
  const auto pad = [](Tensor& x, const std::vector<int64_t>& by, double with) {
    x = x.defined() ? at::constant_pad_nd(x, by, with) : x;
  };
  scores.sets = scores.sets.with_null();
  pad(scores.lse, {0, 1}, 0);
  pad(scores.entropy, {0, 1}, 0);
  pad(scores.top, {0, 0, 0, 1}, -kInfinity);
  if (scores.row_lse.defined()) {
    scores.row_lse = torch::logaddexp(scores.row_lse, torch::zeros_like(scores.row_lse));
  }
}

std::optional<Tensor> of_keys(const std::optional<Tensor>& log_weight, const KeySets& sets) {
  return log_weight ? std::optional(log_weight->slice(3, 0, sets.sets())) : std::nullopt;
}

Row attend_with_null(const KeySource& keys, const Tensor& query, const KeySets& sets,
                     const std::optional<Tensor>& log_weight, const RowOptions& options) {
  if (!log_weight || log_weight->size(3) == sets.sets()) {
    return keys.attend(query, sets, log_weight, options);
  }
  auto row = keys.attend(query, sets, of_keys(log_weight, sets), options);
  const auto null = log_weight->select(3, sets.sets()).to(row.lse.scalar_type());
  const Shares shares({row.lse, null});
  const auto& kept = shares.weights[0];  // by the keys
  row.lse = shares.lse;
  row.out = (row.out * kept.unsqueeze(-1)).to(row.out.scalar_type());
  row.set_lse = torch::cat({row.set_lse, null.unsqueeze(-1)}, -1);
  if (row.entropy.defined()) {
    row.entropy = shares.entropy({row.entropy, torch::zeros_like(null)}).clamp_min(0);
    row.set_entropy = at::constant_pad_nd(row.set_entropy, {0, 1}, 0);
  }
  if (row.set_top.defined()) {
    row.set_top = at::constant_pad_nd(row.set_top, {0, 0, 0, 1}, -kInfinity);
  }
  if (row.top_mass.defined()) {
    row.top_mass = row.top_mass * kept;
  }
  return row;
}

}  // namespace motet
