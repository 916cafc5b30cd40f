#include "motet/model/block.h"

#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>

#include "kernels.h"
#include "motet/error.h"
#include "motet/model/products.h"
#include "reference/attention.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

using BlockByKernel = ByKernel;

INSTANTIATE_TEST_SUITE_P(Kernels, BlockByKernel, testing::ValuesIn(kernels()), name_of_kernel);

Tensor wide(const Tensor& x) { return x.to(torch::kFloat64); }

/// Rounding to the dtype's last bit, of the largest element.
double last_bit(const Tensor& x) {
  const auto epsilon = x.scalar_type() == torch::kBFloat16 ? 0x1p-8 : 0x1p-23;
  return epsilon * x.abs().max().item<double>();
}

struct Product {
  int64_t rows, in, out;
  bool bias;
};

std::vector<Product> products() {
  std::vector<Product> all;
  for (const int64_t rows : {1, 2, 3, 5, 16, 17}) {
    all.push_back({rows, 576, 200, false});
    all.push_back({rows, 61, 37, true});
    all.push_back({rows, 5, 1, false});
  }
  return all;
}

TEST_P(BlockByKernel, LinearEqualsTheProductInFloat64) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(3);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const auto& [rows, in, out, with_bias] : products()) {
      const auto x = torch::randn({1, rows, in}).to(dtype);
      const auto weight = torch::randn({out, in}).to(dtype);
      const auto bias = with_bias ? torch::randn({out}).to(dtype) : Tensor();
      auto expected = wide(x).matmul(wide(weight).t());
      if (with_bias) {
        expected += wide(bias);
      }
      const auto y = linear(x, weight, bias);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_EQ(y.sizes(), (std::vector<int64_t>{1, rows, out}));
      // Sums of `in` products are fp32: each rounds by half a bit, and they add up by chance.
      EXPECT_LT(max_error(y, expected), last_bit(y) + 0x1p-20 * in)
          << rows << "x" << in << "x" << out;
      const auto single = linear(x, weight, bias, /*single_precision_out=*/true);
      EXPECT_EQ(single.scalar_type(), torch::kFloat32);
      EXPECT_LT(max_error(single, expected), 0x1p-20 * in);
    }
  }
}

TEST_P(BlockByKernel, LinearTakesStridedRows) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(3);
  const auto x = torch::randn({1, 64, 3}).transpose(1, 2), weight = torch::randn({8, 64});
  EXPECT_LT(max_error(linear(x, weight, Tensor()), wide(x).matmul(wide(weight).t())), 1e-4);
}

/// Every way of making products, whatever this processor's best is.
class BlockByProducts : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override {
    before_ = products_name();
    use_products(GetParam());
  }
  void TearDown() override { use_products(before_); }

 private:
  std::string before_;
};

INSTANTIATE_TEST_SUITE_P(Products, BlockByProducts, testing::ValuesIn(all_products()),
                         [](const auto& info) {
                           std::string name(info.param);
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

TEST_P(BlockByProducts, LinearEqualsTheProductInFloat64) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(3);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t rows : {1, 9, 65, 130}) {
      const auto x = torch::randn({2, rows, 61}).to(dtype),
                 weight = torch::randn({37, 61}).to(dtype);
      const auto bias = torch::randn({37}).to(dtype);
      const auto expected = wide(x).matmul(wide(weight).t()) + wide(bias);
      const auto y = linear(x, weight, bias);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_LT(max_error(y, expected), last_bit(y) + 0x1p-20 * 61) << rows;
      const auto single = linear(x, weight, bias, /*single_precision_out=*/true);
      EXPECT_EQ(single.scalar_type(), torch::kFloat32);
      EXPECT_LT(max_error(single, expected), 0x1p-20 * 61) << rows;
    }
  }
}

TEST_P(BlockByProducts, LinearHasTheGradientsOfFloat64) {
  torch::manual_seed(3);
  const auto made = [](torch::IntArrayRef sizes) { return torch::randn(sizes).requires_grad_(); };
  const auto x = made({2, 20, 31}), weight = made({7, 31}), bias = made({7});
  const auto on_y = torch::randn({2, 20, 7});
  const auto found = torch::autograd::grad({linear(x, weight, bias)}, {x, weight, bias}, {on_y});
  const auto deep = [](const Tensor& t) { return wide(t.detach()).requires_grad_(); };
  const auto x64 = deep(x), weight64 = deep(weight), bias64 = deep(bias);
  const auto expected = torch::autograd::grad({at::linear(x64, weight64, bias64)},
                                              {x64, weight64, bias64}, {wide(on_y)});
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LT(max_error(found[i], expected[i]), 2e-5) << i;
  }
  // Of the bias alone, where all else is frozen: of few rows, and of many.
  for (const int64_t rows : {1, 20}) {
    const auto alone = linear(x.detach().slice(1, 0, rows), weight.detach(), bias).sum();
    const auto of_bias = torch::autograd::grad({alone}, {bias})[0];
    EXPECT_EQ(max_error(of_bias, 2 * rows * torch::ones({7})), 0) << rows;
  }
  // Of the rows alone, as where weights are frozen; and through its own gradient.
  const auto frozen = linear(x, weight.detach(), Tensor()).square().sum();
  const auto once = torch::autograd::grad({frozen}, {x}, {}, true, /*create_graph=*/true)[0];
  const auto twice = torch::autograd::grad({once.square().sum()}, {x})[0];
  const auto square = wide(weight.detach()).t().matmul(wide(weight.detach()));
  EXPECT_LT(max_error(twice, 8 * wide(x.detach()).matmul(square).matmul(square)), 0.05);
}

TEST_P(BlockByProducts, AutocastChoosesTheDtype) {
  const at::NoGradGuard no_grad;
  at::autocast::set_autocast_enabled(at::kCPU, true);
  at::autocast::set_autocast_dtype(at::kCPU, torch::kBFloat16);
  const auto y = linear(torch::ones({70, 8}), torch::ones({4, 8}), Tensor());
  at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(at::kCPU, false);
  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
}

TEST(Products, UnknownOnesAreErrorsThatNameAll) {
  try {
    use_products("cublas");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("libtorch/wide, libtorch/native"), std::string::npos)
        << error.what();
  }
}

/// LibTorch's products promise neither, but for the last bits.
TEST_P(BlockByKernel, ARowDoesNotDependOnItsNeighboursOrThreads) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(3);
  const double tolerance = GetParam() == "portable" ? 1e-4 : 0;
  const auto threads = at::get_num_threads();
  const auto x = torch::randn({7, 100}), weight = torch::randn({130, 100});
  const auto together = linear(x, weight, Tensor());
  at::set_num_threads(threads == 1 ? 2 : 1);
  for (int64_t row = 0; row < 7; ++row) {
    const auto alone = linear(x.slice(0, row, row + 1), weight, Tensor())[0];
    EXPECT_LE(max_error(alone, together[row]), tolerance);
  }
  at::set_num_threads(threads);
}

TEST_P(BlockByKernel, LayersTogetherMakeWhatEachMakesAlone) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(3);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const auto layer = [&](int64_t outs, bool bias) {
      Linear made(61, outs, bias, dtype);
      for (auto& parameter : made.parameters()) {
        parameter.normal_();
      }
      return made;
    };
    const auto wide = layer(70, false), one = layer(1, true), narrow = layer(33, true);
    for (const int64_t rows : {1, 3, 80}) {
      const auto x = torch::randn({1, rows, 61}).to(dtype);
      const auto together = forward_together(x, {&wide, &one, &narrow});
      ASSERT_EQ(together.size(), 3);
      EXPECT_TRUE(forward_together(x, {}).empty());
      EXPECT_TRUE(torch::equal(together[0], wide.forward(x))) << rows;
      EXPECT_TRUE(torch::equal(together[1], one.forward(x))) << rows;
      EXPECT_TRUE(torch::equal(together[2], narrow.forward(x))) << rows;
    }
  }
}

/// Never read past their end: whatever the kernel, LibTorch's own error.
TEST_P(BlockByKernel, ShapesThatDoNotFitAreErrors) {
  const at::NoGradGuard no_grad;
  EXPECT_THROW(linear(torch::ones({1, 2, 16}), torch::ones({4, 24}), Tensor()), c10::Error);
  EXPECT_THROW(linear(torch::ones({1, 2, 32}), torch::ones({4, 24}), Tensor()), c10::Error);
  RmsNorm norm(8, 1e-5, torch::TensorOptions());
  EXPECT_THROW(norm.forward(torch::ones({1, 2, 16})), c10::Error);
  const auto x = torch::ones({1, 2, 6, 24});
  EXPECT_THROW(rotate(x, {torch::ones({4, 12}), torch::ones({4, 12})}), c10::Error);
  EXPECT_THROW(rotate(x, {torch::ones({6, 16}), torch::ones({6, 16})}), c10::Error);
}

TEST_P(BlockByKernel, RmsNormEqualsItsDefinitionInFloat64) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(5);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t width : {1, 8, 37, 576}) {
      RmsNorm norm(width, 1e-5, torch::TensorOptions());
      norm.weight.normal_();
      norm.to(dtype);
      const auto x = 3 * torch::randn({2, 5, width});
      const auto mean = wide(x).square().mean(-1, true);
      const auto expected = wide(x) / (mean + 1e-5).sqrt() * wide(norm.weight);
      const auto y = norm.forward(x);
      EXPECT_EQ(y.scalar_type(), dtype);
      EXPECT_LT(max_error(y, expected), 2 * last_bit(y)) << width;
    }
  }
}

TEST_P(BlockByKernel, RotationTurnsPairsOfFeatures) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(5);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const auto angles = torch::randn({6, 12});
    const Rotation rotation{angles.cos(), angles.sin()};
    const auto tokens = torch::randn({2, 6, 3 * 24}).to(dtype);
    const auto x = split_heads(tokens, 3);  // strided, as attention has it
    const auto a = wide(x).slice(3, 0, 12), b = wide(x).slice(3, 12);
    const auto cos = wide(rotation.cos), sin = wide(rotation.sin);
    const auto expected = torch::cat({a * cos - b * sin, b * cos + a * sin}, -1);
    const auto y = rotate(x, rotation);
    EXPECT_EQ(y.scalar_type(), dtype);
    EXPECT_LT(max_error(y, expected), 2 * last_bit(y));
    EXPECT_LT(max_error(rotate(x.transpose(2, 3).contiguous().transpose(2, 3), rotation), expected),
              2 * last_bit(y));
  }
}

TEST_P(BlockByKernel, GateEqualsItsDefinitionInFloat64) {
  const at::NoGradGuard no_grad;
  torch::manual_seed(5);
  const auto gate = gate_named("silu", "here");
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t width : {1, 8, 37, 20000}) {
      const auto x = (10 * torch::randn({2, 3, width})).to(dtype);
      const auto up = torch::randn({2, 3, width}).to(dtype);
      const auto expected = wide(x) / (1 + (-wide(x)).exp()) * wide(up);
      const auto y = gate(x.clone(), up);
      EXPECT_EQ(y.scalar_type(), dtype);
      // LibTorch rounds twice in bf16.
      EXPECT_TRUE(torch::allclose(wide(y), expected, 2 * last_bit(torch::ones({1}, dtype)), 1e-7))
          << width;
    }
  }
}

TEST_P(BlockByKernel, GateIsFiniteFarOutAndKeepsNan) {
  const at::NoGradGuard no_grad;
  const auto gate = gate_named("silu", "here");
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const auto x = torch::tensor({-3e38F, -200.0F, 200.0F, 3e38F, NAN}).to(dtype);
    const auto y = gate(x.clone(), torch::ones({5}, dtype)).to(torch::kFloat32);
    EXPECT_LE(y.slice(0, 0, 2).abs().max().item<float>(), 4.0F);
    EXPECT_TRUE(y.slice(0, 2, 4).equal(x.slice(0, 2, 4).to(torch::kFloat32)));
    EXPECT_TRUE(std::isnan(y[4].item<float>()));
  }
}

TEST_P(BlockByKernel, GateTakesStridedRows) {
  const at::NoGradGuard no_grad;
  const auto both = torch::randn({2, 5, 14}), left = both.slice(2, 0, 7), right = both.slice(2, 7);
  const auto gate = gate_named("swish", "here");
  const auto expected = wide(left) / (1 + (-wide(left)).exp()) * wide(right);
  EXPECT_LT(max_error(gate(left, right), expected), 1e-5);
}

/// With a gradient, LibTorch's operations compute the same figures.
TEST_P(BlockByKernel, GradientsFlowThroughAllOfIt) {
  torch::manual_seed(5);
  RmsNorm norm(24, 1e-5, torch::TensorOptions());
  norm.weight.detach().normal_();
  Linear product(24, 24, true, torch::TensorOptions());
  for (auto& parameter : product.parameters()) {
    parameter.detach().normal_();
  }
  const auto angles = torch::randn({4, 6});
  const Rotation rotation{angles.cos(), angles.sin()};
  const auto through = [&](const Tensor& x) {
    const auto normed = norm.forward(x);
    const auto y = gate_named("silu", "here")(product.forward(normed), normed.clone());
    return rotate(split_heads(y, 2), rotation);
  };
  const auto x = torch::randn({1, 4, 24}, torch::requires_grad());
  const auto y = through(x);
  y.sum().backward();
  EXPECT_TRUE(x.grad().defined() && norm.weight.grad().defined() &&
              product.weight.grad().defined() && product.bias.grad().defined());
  const at::NoGradGuard no_grad;
  EXPECT_LT(max_error(through(x), y), 1e-5);
}

}  // namespace
}  // namespace motet
