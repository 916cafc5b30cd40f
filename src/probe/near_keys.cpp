#include "motet/probe/near_keys.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "motet/attention/probabilities.h"
#include "motet/error.h"

namespace motet {

using torch::Tensor;

NearKeysProbe::NearKeysProbe(std::vector<double> gaps) : gaps_(std::move(gaps)) {
  require(!gaps_.empty(), "motet::NearKeysProbe: no gaps are given");
  for (const auto gap : gaps_) {
    require(std::isfinite(gap) && gap >= 0, "motet::NearKeysProbe: a gap of ", gap,
            "; a number of nats is wanted, 0 or more");
  }
}

void NearKeysProbe::observe(const Observation& seen) {
  if (seen.kind != RowKind::kQuery) {
    return;
  }
  constexpr int64_t kScores = 1 << 24;  // of all heads at once
  const auto rows = seen.query.size(2);
  const auto of_row =
      std::max<int64_t>(1, seen.query.size(0) * seen.query.size(1) * seen.visible->keys());
  const auto step = std::clamp<int64_t>(kScores / of_row, 1, std::max<int64_t>(1, rows));
  std::vector<Tensor> counts;
  for (int64_t first = 0; first < rows; first += step) {
    std::vector<int64_t> some(std::min(step, rows - first));
    std::iota(some.begin(), some.end(), first);
    const auto log_p = seen.probabilities_of(some).log();
    const auto largest = log_p.amax(3, true);
    std::vector<Tensor> within;
    for (const auto gap : gaps_) {
      within.push_back((log_p >= largest - gap).logical_and_(log_p.isfinite()).sum(3));
    }
    counts.push_back(torch::stack(within, 3));
  }
  keys_.add(seen.layer, torch::cat(counts, 2).to(torch::kFloat32));
}

}  // namespace motet
