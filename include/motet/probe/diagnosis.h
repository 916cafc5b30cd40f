#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "motet/probe/probe.h"
#include "motet/probe/statistic.h"

namespace motet {

/// What makes scores large or small: norms of queries, keys and values, how well a query and a key
/// point the same way, and the size of their scores. PCE's diagnosis of where in a piece attention
/// goes wrong (arXiv 2412.16545, section 4).
///
/// Looks at query rows, and at the keys of pieces by their place inside the piece: place t is
/// averaged over all pieces that are longer than t. Every [layers, ...] result throws Error where
/// nothing was observed.
class DiagnosisProbe : public Probe {
 public:
  ProbeNeeds needs() const override { return {.query_keys_values = true}; }
  void observe(const Observation& seen) override;

  /// |q| of each row.
  const RowStatistic& query_norm() const { return query_norm_; }
  /// |k|, [layers, kv_heads, places], float64.
  torch::Tensor key_norm() const { return mean_of(key_norm_); }
  /// |v|, [layers, kv_heads, places], float64.
  torch::Tensor value_norm() const { return mean_of(value_norm_); }
  /// q.k / (|q| |k|), mean over query rows, [layers, heads, places], float64.
  torch::Tensor cosine() const { return mean_of(cosine_); }
  /// |scale q.k|, mean over query rows, [layers, heads, places], float64.
  torch::Tensor abs_score() const { return mean_of(abs_score_); }

 private:
  /// Sums of one layer by place in the piece.
  struct Places {
    torch::Tensor sum;    // [heads, places], float64
    torch::Tensor count;  // [places]
    void add(const torch::Tensor& piece, int64_t rows);
  };
  static torch::Tensor mean_of(const std::vector<Places>& layers);

  RowStatistic query_norm_;
  std::vector<Places> key_norm_, value_norm_, cosine_, abs_score_;  // of each layer
};

}  // namespace motet
