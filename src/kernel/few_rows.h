#pragma once

#include <torch/types.h>

#include <cstdint>

namespace motet {

/// Whether `multiply_few_rows` computes x W^T: fp32 or bf16 on a processor whose vectors we use,
/// shapes that fit, at most `most` rows of x, no gradient.
bool multiplies_few_rows(const torch::Tensor& x, const torch::Tensor& weight, int64_t most);

/// x W^T + b for a few rows of x, as while generating: all the work is to read W, once. `weight` is
/// [out, in], `bias` [out] or undefined, x [..., in] in the weight's dtype; [..., out] in `type`,
/// fp32 or bf16. Sums are fp32; a row's result depends neither on the rows beside it nor on the
/// number of threads.
torch::Tensor multiply_few_rows(const torch::Tensor& x, const torch::Tensor& weight,
                                const torch::Tensor& bias, torch::ScalarType type);

}  // namespace motet

namespace motet::few_rows {

/// out[r][o] = sum_i x[r][i] w[o][i].
struct Product {
  const float* x;  // laid out; rows are `stride` apart, 0 beyond their end
  int64_t stride, rows;
  const void* w;  // [outs, in]
  int64_t in, outs;
  float* out;            // [rows, outs]
  uint16_t* narrow_out;  // the same in bf16, unless null
};

/// For one instruction set and one dtype of x and w.
struct Variant {
  void (*lay_out)(const void* row, int64_t in, float* to);
  void (*multiply)(const Product& product, int64_t first_out, int64_t last_out);
};

}  // namespace motet::few_rows
