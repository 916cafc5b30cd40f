#pragma once

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <limits>
#include <ostream>
#include <string_view>
#include <vector>

#include "attention/shapes.h"
#include "kernels.h"
#include "motet/attention/rows.h"
#include "reference/attention.h"

namespace motet {

struct Inputs {
  torch::Tensor query, keys, values;
  std::vector<torch::Tensor> key_list, value_list;
};

/// Scores spread over several nats, so that rows are peaked.
inline Inputs inputs(const Shape& shape, torch::ScalarType dtype, bool requires_grad = false) {
  torch::manual_seed(7);
  const auto f64 = torch::TensorOptions().dtype(torch::kFloat64);
  Inputs in;
  in.query = (torch::randn({shape.batch, shape.heads, shape.sets.rows(), shape.features}, f64) * 2)
                 .to(dtype)
                 .set_requires_grad(requires_grad);
  const auto kv = [&](double spread) {
    return (torch::randn({shape.key_batch, shape.kv_heads, shape.sets.keys(), shape.features},
                         f64) *
            spread)
        .to(dtype)
        .set_requires_grad(requires_grad);
  };
  in.keys = kv(2);
  in.values = kv(1);
  int64_t first = 0;
  for (const auto size : shape.tensors) {
    in.key_list.push_back(in.keys.slice(2, first, first + size));
    in.value_list.push_back(in.values.slice(2, first, first + size));
    first += size;
  }
  return in;
}

/// Log weights of every kind: kept, dropped and shifted.
inline torch::Tensor log_weights(const Shape& shape) {
  const auto f64 = torch::TensorOptions().dtype(torch::kFloat64);
  const auto sizes =
      std::vector<int64_t>{shape.batch, shape.heads, shape.sets.rows(), shape.sets.sets()};
  const auto dice = torch::rand(sizes, f64);
  const auto shifted = torch::where(dice < 0.6, torch::randn(sizes, f64), torch::zeros(sizes, f64));
  return shifted.masked_fill(dice < 0.2, -std::numeric_limits<double>::infinity());
}

/// One kernel on one shape in one precision.
struct Case {
  Shape shape;
  std::string_view kernel;
  torch::ScalarType dtype;
  double tolerance;  // float64: only the order of sums differs. fp32: scores reach 30 and are
                     // rounded by 2e-6 each, probabilities and their logarithms follow

  friend std::ostream& operator<<(std::ostream& out, const Case& c) {
    return out << c.shape << "_" << c.kernel << "_" << c.dtype;
  }
};

inline std::vector<Case> cases() {
  std::vector<Case> cases;
  for (const auto& shape : shapes()) {
    cases.push_back({shape, "portable", torch::kFloat64, 1e-12});
    for (const auto kernel : kernels()) {
      cases.push_back({shape, kernel, torch::kFloat32, 5e-5});
    }
  }
  return cases;
}

inline void expect_near(const Row& row, const Row& expected, double tolerance) {
  EXPECT_LT(reference::max_error(row.out, expected.out), tolerance);
  EXPECT_LT(reference::max_error(row.lse, expected.lse), tolerance);
  EXPECT_LT(reference::max_error(row.entropy, expected.entropy), tolerance);
  EXPECT_LT(reference::max_error(row.set_lse, expected.set_lse), tolerance);
  EXPECT_LT(reference::max_error(row.set_entropy, expected.set_entropy), tolerance);
}

/// A loss that reads every output of a row that is differentiable, with fixed random coefficients.
inline torch::Tensor loss(const Row& row) {
  torch::manual_seed(11);
  const auto f64 = torch::TensorOptions().dtype(torch::kFloat64);
  auto sum = torch::zeros({}, f64);
  for (const auto& x :
       {row.out, row.lse, row.entropy, row.set_lse, row.set_entropy, row.top_mass}) {
    if (x.defined()) {
      const auto none = x == -std::numeric_limits<double>::infinity();
      sum = sum + (x.masked_fill(none, 0) * torch::randn(x.sizes(), f64)).sum();
    }
  }
  return sum;
}

/// Gradients are sums of many terms: fp32 is held to this share of their largest.
inline double gradient_tolerance(const Case& c, const torch::Tensor& expected) {
  const auto largest = expected.numel() == 0 ? 0 : expected.abs().max().item<double>();
  return c.dtype == torch::kFloat64 ? 1e-10 : 2e-5 * std::max(1.0, largest);
}

}  // namespace motet
