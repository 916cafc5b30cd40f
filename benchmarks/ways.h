#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "motet/attention/rows.h"
#include "motet/context/layout.h"

/// The inputs that benchmarks share, and the rivals: what a user would run without this library.
namespace bench {

/// Rows of a width of 768: 12 heads of 64 features, 6 of 128.
struct Inputs {
  Inputs(int64_t rows, int64_t all_keys, int64_t features, at::ScalarType dtype = at::kFloat)
      : query(at::randn({1, 768 / features, rows, features}).to(dtype)),
        keys(at::randn({1, 768 / features, all_keys, features}).to(dtype)),
        values(at::randn({1, 768 / features, all_keys, features}).to(dtype)) {}

  at::Tensor query, keys, values;
};

/// PyTorch's fused attention, without statistics.
inline at::Tensor sdpa(const Inputs& x, bool causal) {
  return at::scaled_dot_product_attention(x.query, x.keys, x.values, {}, 0.0, causal);
}

/// What the matrix way adds to its scores: -inf where a row must not look.
inline at::Tensor causal_mask(int64_t rows) {
  return at::full({rows, rows}, -std::numeric_limits<float>::infinity()).triu_(1);
}

/// Attention and its entropy by way of the matrix.
inline std::vector<at::Tensor> matrix_way(const Inputs& x, const at::Tensor& mask) {
  const auto scale = 1 / std::sqrt(static_cast<double>(x.query.size(3)));
  const auto p = at::matmul(x.query, x.keys.transpose(2, 3)).mul_(scale).add_(mask).softmax(-1);
  return {at::matmul(p, x.values), at::special_entr(p).sum(-1)};
}

/// Keys of a row that its penalty leaves free.
constexpr int64_t kBudget = 32;

/// Attention, and the mean over rows of the mass outside their largest keys: a loss.
inline std::vector<at::Tensor> penalty(const Inputs& x, const motet::KeySets& sets) {
  const auto row = motet::attend(x.query, x.keys, x.values, sets, {},
                                 {.entropy = false, .budget = {.keys = kBudget}});
  return {row.out, (1 - row.top_mass).mean()};
}

/// The same by way of the matrix.
inline std::vector<at::Tensor> matrix_penalty(const Inputs& x, const at::Tensor& mask) {
  const auto scale = 1 / std::sqrt(static_cast<double>(x.query.size(3)));
  const auto p = (at::matmul(x.query, x.keys.transpose(2, 3)) * scale + mask).softmax(-1);
  const auto least = std::get<0>(p.detach().topk(kBudget, -1)).slice(-1, -1);
  return {at::matmul(p, x.values), (1 - (p * (p >= least)).sum(-1)).mean()};
}

/// The gradients of `inputs` where those of `outputs` are `d_outputs`.
inline std::vector<at::Tensor> gradients(const std::vector<at::Tensor>& outputs,
                                         const std::vector<at::Tensor>& d_outputs,
                                         const std::vector<at::Tensor>& inputs) {
  return torch::autograd::grad(outputs, inputs, d_outputs);
}

/// Sets of a reading of `pieces` equal pieces, `keys` keys in all, without prefix and own keys.
inline motet::KeySets piece_sets(int64_t rows, int64_t keys, int64_t pieces) {
  std::vector<motet::Span> spans;
  int64_t first = 0;
  for (const auto length : motet::split_tokens(keys, pieces)) {
    spans.push_back({.set = 1 + static_cast<int64_t>(spans.size()),
                     .first_row = 0,
                     .rows = rows,
                     .first_key = first,
                     .keys = length});
    first += length;
  }
  return {pieces + 2, rows, keys, std::move(spans)};
}

/// The same keys in a tensor for each piece, as an encoded context holds them.
inline std::vector<at::Tensor> apart(const at::Tensor& keys, int64_t pieces) {
  auto parts = keys.split(motet::split_tokens(keys.size(2), pieces), 2);
  for (auto& part : parts) {
    part = part.contiguous();
  }
  return parts;
}

}  // namespace bench
