#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace motet {

/// A figure for every layer, head and row, gathered pass after pass.
class RowStatistic {
 public:
  /// `rows` of `layer`, [batch, heads, rows(, ...)]. Layers come in order, pass after pass.
  void add(int64_t layer, const torch::Tensor& rows);
  /// What `make` makes of the rows of each layer and pass, [batch, heads, rows(, ...)], which keeps
  /// the first three dimensions.
  RowStatistic map(const std::function<torch::Tensor(const torch::Tensor&)>& make) const;
  /// Whether nothing was seen.
  bool empty() const { return layers_.empty(); }
  /// [layers, batch, heads, rows(, ...)], rows of all passes. Throws Error where nothing was seen,
  /// and where layers have different numbers of rows.
  torch::Tensor rows() const;
  /// The last row of the last pass, [layers, batch, heads(, ...)]. Throws Error where nothing was
  /// seen, in all layers or in one.
  torch::Tensor last() const;
  /// Mean over batch and rows, [layers, heads(, ...)], float64.
  torch::Tensor heads() const;
  /// Mean over layers, batch, heads and rows, [...], float64: every token counts once.
  torch::Tensor mean() const;
  /// The unweighted mean over passes and layers of each pass's mean: a pass with one row counts as
  /// much as one with a thousand. Throws Error where nothing was seen.
  double mean_of_passes() const;

 private:
  std::vector<std::vector<torch::Tensor>> layers_;  // [layer][pass]
};

}  // namespace motet
