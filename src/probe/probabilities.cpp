#include "motet/probe/probabilities.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "motet/error.h"

namespace motet {

ProbabilityProbe::ProbabilityProbe(std::vector<int64_t> rows)
    : rows_(std::move(rows)), layers_(rows_.size()) {
  for (const auto row : rows_) {
    require(row >= 0, "motet::ProbabilityProbe: row ", row, "; rows count from 0");
  }
}

void ProbabilityProbe::observe(const Observation& seen) {
  for (std::size_t i = 0; i < seen.named_rows.size(); ++i) {
    const auto found = std::find(rows_.begin(), rows_.end(), seen.named_rows[i]);
    if (found != rows_.end()) {
      layers_[found - rows_.begin()].push_back(
          seen.probabilities.select(2, static_cast<int64_t>(i)).clone());
    }
  }
}

torch::Tensor ProbabilityProbe::row(int64_t row) const {
  const auto found = std::find(rows_.begin(), rows_.end(), row);
  require(found != rows_.end(), "motet::ProbabilityProbe: row ", row, " was not asked for");
  const auto& layers = layers_[found - rows_.begin()];
  require(!layers.empty(), "motet::ProbabilityProbe: row ", row, " was not observed");
  return torch::stack(layers);
}

}  // namespace motet
