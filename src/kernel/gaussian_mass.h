#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

namespace motet {

/// q.(mean + covariance q) for each row of each head, [batch, heads, rows], fp32, in one pass; see
/// GaussianKeys, whose tensors these are, fp32. Nothing where the vectors of a processor cannot
/// compute it, or a gradient is wanted.
std::optional<torch::Tensor> gaussian_mass(const torch::Tensor& query, const torch::Tensor& mean,
                                           const torch::Tensor& covariance, bool full);

}  // namespace motet

/// What is compiled for several instruction sets.
namespace motet::gaussian {

constexpr int64_t kMostFeatures = 256;

/// Queries of [batch, heads, rows, features] with strides, features without gaps.
struct MassRows {
  const void* query;
  bool bfloat16;
  int64_t heads, rows, features, group;  // `group` heads share keys
  int64_t batch_stride, head_stride, row_stride;
  const float* mean;        // [batch or 1, kv_heads, features]
  const float* covariance;  // [batch or 1, kv_heads, features, features], or its diagonal
  int64_t batch_means;      // how many `mean` and `covariance` are for
  bool full;
  float* out;  // [batch, heads, rows]
};

using Mass = void (*)(const MassRows& rows, int64_t first, int64_t last);

}  // namespace motet::gaussian
