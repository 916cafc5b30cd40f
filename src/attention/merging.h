#pragma once

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "attention/infinity.h"

/// The row over the union of disjoint parts of its keys (docs/rows.md). Of the lse and entropy of
/// each part m, its log weight added,
///
///     lse = ln sum_m exp(lse_m)       w_m = exp(lse_m - lse)
///     out = sum_m w_m out_m           entropy = sum_m w_m entropy_m - sum_m w_m ln w_m
///
/// in three forms: of tensors and of one row in numbers here, and of vectors whose lanes are rows
/// in kernel/fused/softmax-inl.h, where sums are yet to be divided.
namespace motet {

/// lse with 0 for -inf: exp(-inf - 0) is 0, exp(-inf - -inf) would be NaN.
torch::Tensor finite(const torch::Tensor& lse);

/// ln sum exp over the last dimension, which stays with size 1; 0 where all of it is -inf, as
/// `finite` has it, with gradient 0 there, where that of logsumexp is NaN.
torch::Tensor finite_log_sum(const torch::Tensor& lses);

/// lses less the largest of the last dimension, which is a constant; -inf stays. For what does not
/// change where all of them are shifted, and in which large ones would cancel.
torch::Tensor below_largest(const torch::Tensor& lses);

/// w ln w, 0 where w is, with gradient 0 there if w is exp(-inf).
torch::Tensor times_log(const torch::Tensor& w);

/// What parts have of a row: the form of tensors, differentiable.
struct Shares {
  torch::Tensor lse;                   // of the union
  std::vector<torch::Tensor> weights;  // w_m; exactly 0 where a part is empty

  explicit Shares(const std::vector<torch::Tensor>& lses);

  /// The entropy of the union; rounding may leave it just below 0. An empty part has entropy 0.
  torch::Tensor entropy(const std::vector<torch::Tensor>& of_parts) const;
  /// sum_m w_m out_m, [..., features], in the dtype of the weights.
  torch::Tensor out(const std::vector<torch::Tensor>& of_parts) const;
};

/// The form of numbers: one row from the parts' lse, `stride` apart.
struct MergedRow {
  float lse = -kInfinity, entropy = 0;  // NaN where that of a part is

  /// `entropies` lie as `lses` do, or are null. `weights` are made, one for each part.
  MergedRow(const float* lses, const float* entropies, int64_t stride, double* weights,
            int64_t parts) {
    double most = -kInfinity, total = 0, mean = 0;
    for (int64_t i = 0; i < parts; ++i) {
      const double x = lses[i * stride];
      most = most < x || std::isnan(x) ? x : most;
    }
    if (most == -kInfinity) {
      std::fill_n(weights, parts, 0.0);
      return;
    }
    for (int64_t i = 0; i < parts; ++i) {
      total += weights[i] = std::exp(lses[i * stride] - most);
    }
    lse = static_cast<float>(most + std::log(total));
    for (int64_t i = 0; i < parts; ++i) {
      weights[i] /= total;
      if (entropies != nullptr && weights[i] != 0) {
        mean += weights[i] * (entropies[i * stride] - std::log(weights[i]));
      }
    }
    entropy = static_cast<float>(std::max(mean, 0.0));
  }
};

}  // namespace motet
