#pragma once

#include <torch/types.h>

#include <cstdint>

namespace motet {

/// x / sqrt(mean(x^2) + epsilon) weight for each row of x, [..., width], fp32 (float64 with a
/// weight in float64); in the weight's dtype. One pass over the rows where vector code of ours runs
/// and no gradient is wanted, LibTorch's operations elsewhere.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon);

/// silu(gate) * up, in their dtype; one pass, written over `gate`, where `rms_norm` is one.
torch::Tensor silu_gate(const torch::Tensor& gate, const torch::Tensor& up);

/// stream + added, the residual stream being fp32 (float64 with `added` in float64); in its dtype.
/// One pass where `rms_norm` is one.
torch::Tensor add_to_stream(const torch::Tensor& stream, const torch::Tensor& added);

/// Puts `from`, [batch, heads, rows, features], into `to`, [batch, heads, more rows, features], as
/// its rows from `first` on. Of few elements the copies cost less than an operation of LibTorch.
void copy_rows(const torch::Tensor& from, const torch::Tensor& to, int64_t first);

/// As `motet::rotate`, for angles that are there.
torch::Tensor rotate_pairs(const torch::Tensor& x, const torch::Tensor& cos,
                           const torch::Tensor& sin);

}  // namespace motet

/// What is compiled for several instruction sets.
namespace motet::elementwise {

/// Rows of a norm. `bfloat16` weights and out, else fp32.
struct NormRows {
  const float* x;
  const void* weight;
  void* out;
  int64_t width;
  float epsilon;
  bool bfloat16;
};

/// [batch, heads, rows, features] with strides of the first three, out without gaps.
struct RotateRows {
  const void* x;
  int64_t heads, rows, features;
  int64_t batch_stride, head_stride, row_stride;
  const float *cos, *sin;  // [rows, features / 2]
  void* out;
  bool bfloat16;
};

/// Elements of two tensors without gaps; the result is written over `gate`.
struct GateElements {
  void* gate;
  const void* up;
  bool bfloat16;
};

/// Elements of tensors without gaps; `bfloat16` those of `added`, else fp32.
struct StreamElements {
  const float* stream;
  const void* added;
  float* out;
  bool bfloat16;
};

struct Variant {
  void (*norm)(const NormRows& rows, int64_t first, int64_t last);
  void (*rotate)(const RotateRows& rows, int64_t first, int64_t last);  // of batch * heads * rows
  void (*gate)(const GateElements& elements, int64_t first, int64_t last);
  void (*add)(const StreamElements& elements, int64_t first, int64_t last);
};

}  // namespace motet::elementwise
