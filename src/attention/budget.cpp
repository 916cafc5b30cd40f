#include "motet/attention/budget.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "attention/infinity.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

/// As `keys_seen`, but for key 0 where that does not count.
Tensor keys_of_sets(const KeySets& sets, bool counts_first) {
  const auto counts = torch::zeros({sets.rows(), sets.sets()}, torch::kInt64);
  auto* count = counts.data_ptr<int64_t>();
  for (const auto& span : sets.spans()) {
    for (int64_t row = 0; row < span.rows; ++row) {
      const auto seen = span.seen_by(row);
      const bool free = !counts_first && span.first_key == 0 && seen.first == 0 && seen.last > 0;
      count[(span.first_row + row) * sets.sets() + span.set] += seen.size() - (free ? 1 : 0);
    }
  }
  return counts;
}

}  // namespace

Tensor keys_seen(const KeySets& sets) { return keys_of_sets(sets, /*counts_first=*/true); }

void KeyBudget::validate(const char* where) const {
  require(keys >= 0, where, ": a budget of ", keys, " keys");
  require(!share || (*share > 0 && *share <= 1), where, ": a budget of a share of ",
          share.value_or(0), " of the keys; it is within (0, 1]");
}

Tensor keys_of_rows(const KeyBudget& budget, const KeySets& sets,
                    const std::optional<Tensor>& log_weight) {
  auto of_sets = keys_of_sets(sets, budget.counts_first);
  if (log_weight) {
    of_sets = of_sets.to(log_weight->device()) * (*log_weight != -kInfinity);
  }
  const auto seen = of_sets.sum(-1);
  constexpr double kRounding = 1e-9;  // 0.1 * 30 is a little above 3
  const auto keys = budget.share ? (seen.to(torch::kFloat64) * *budget.share - kRounding)
                                       .ceil()
                                       .to(torch::kInt64)
                                       .clamp_min(1)
                                 : torch::full_like(seen, budget.keys);
  return keys.masked_fill(keys >= seen, 0);
}

}  // namespace motet
