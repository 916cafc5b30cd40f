#pragma once

#include <torch/types.h>

#include <cstdint>
#include <span>
#include <vector>

namespace motet {

/// x W^T + b: a weight [out, in] and a bias [out], or none.
struct Affine {
  torch::Tensor weight, bias;
};

/// Whether `multiply_few_rows` computes x W^T + b: fp32 or bf16 on a processor whose vectors we
/// use, shapes that fit, at most `most` rows of x, no gradient.
bool multiplies_few_rows(const torch::Tensor& x, const Affine& map, int64_t most);

/// x W^T + b for a few rows of x and each W, as while generating: all the work is to read them,
/// once, by all threads at once. x is [..., in] in the weights' dtype; [..., out] each, in `type`,
/// fp32 or bf16. Sums are fp32; a row's result depends neither on the rows beside it, nor on other
/// weights, nor on the number of threads.
std::vector<torch::Tensor> multiply_few_rows(const torch::Tensor& x, std::span<const Affine> maps,
                                             torch::ScalarType type);

}  // namespace motet

namespace motet::few_rows {

/// out[r][o] = sum_i x[r][i] w[o][i] + bias[o].
struct Product {
  const float* x;  // laid out; rows are `stride` apart, 0 beyond their end
  int64_t stride, rows;
  const void* w;     // [outs, in]
  const void* bias;  // [outs] in the dtype of w, or null
  int64_t in, outs;
  void* out;        // [rows, outs]
  bool narrow_out;  // in bf16, else fp32
};

/// For one instruction set and one dtype of x and w.
struct Variant {
  void (*lay_out)(const void* row, int64_t in, float* to);
  /// `sums` has room for rows times these outs.
  void (*multiply)(const Product& product, int64_t first_out, int64_t last_out, float* sums);
};

}  // namespace motet::few_rows
