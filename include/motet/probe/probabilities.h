#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "motet/probe/probe.h"

namespace motet {

/// Attention itself, of a few query rows: only for small pictures, since a row is as long as
/// everything that it sees.
class ProbabilityProbe : public Probe {
 public:
  /// Rows of the query, counted from its first token. Throws Error for a negative one.
  explicit ProbabilityProbe(std::vector<int64_t> rows);
  ProbeNeeds needs() const override { return {.rows = true, .named_rows = rows_}; }
  void observe(const Observation& seen) override;

  /// The probability of every key, [layers, batch, heads, keys], of one of the rows: prefix, pieces
  /// and own keys as far as the reader had them. Throws Error for a row that was not observed.
  torch::Tensor row(int64_t row) const;

 private:
  std::vector<int64_t> rows_;
  std::vector<std::vector<torch::Tensor>> layers_;  // [which of rows_][layer]
};

}  // namespace motet
