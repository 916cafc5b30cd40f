#include "motet/attention/rows.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention/cases.h"
#include "attention/shapes.h"
#include "kernels.h"
#include "motet/attention/kernel.h"
#include "motet/attention/scores.h"
#include "motet/error.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// Every test of this suite runs with its case's kernel.
class Rows : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { use_kernel(GetParam().kernel); }
  void TearDown() override { use_kernel(kernels().front()); }
};

INSTANTIATE_TEST_SUITE_P(Cases, Rows, testing::ValuesIn(cases()),
                         testing::PrintToStringParamName());

TEST_P(Rows, EqualTheTwin) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype);
  expect_near(attend(in.query, in.key_list, in.value_list, shape.sets),
              reference::attend(in.query, in.keys, in.values, shape.sets), tolerance);
}

TEST_P(Rows, EqualTheTwinUnderLogWeights) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype);
  const auto log_weight = log_weights(shape);
  expect_near(attend(in.query, in.key_list, in.value_list, shape.sets, log_weight),
              reference::attend(in.query, in.keys, in.values, shape.sets, log_weight), tolerance);
}

TEST_P(Rows, EqualTheTwinAboveAThreshold) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype);
  const RowOptions options{
      .rule = {.scale = 0.3},
      .threshold = torch::full({shape.batch, shape.heads, shape.sets.rows()}, 0.5, dtype)};
  expect_near(attend(in.query, in.key_list, in.value_list, shape.sets, {}, options),
              reference::attend(in.query, in.keys, in.values, shape.sets, {}, options), tolerance);
}

TEST_P(Rows, AreReadWhereverTheyLie) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype);
  const auto moved = [](const Tensor& x) {  // heads and rows swapped, features apart
    const auto wide =
        torch::full({x.size(0), x.size(2), x.size(1), x.size(3), 2}, std::nan(""), x.options());
    const auto view = wide.select(4, 1).transpose(1, 2);
    view.copy_(x);
    return view;
  };
  std::vector<Tensor> keys, values;
  for (std::size_t i = 0; i < in.key_list.size(); ++i) {
    keys.push_back(moved(in.key_list[i]));
    values.push_back(moved(in.value_list[i]));
  }
  expect_near(attend(moved(in.query), keys, values, shape.sets),
              attend(in.query, in.key_list, in.value_list, shape.sets), tolerance);
}

TEST_P(Rows, LowPrecisionKeepsItsStatisticsInSingle) {
  const auto& shape = GetParam().shape;
  const auto in = inputs(shape, torch::kBFloat16);
  const auto row = attend(in.query, in.key_list, in.value_list, shape.sets);
  const auto expected = reference::attend(in.query, in.keys, in.values, shape.sets);
  EXPECT_EQ(row.out.scalar_type(), torch::kBFloat16);
  EXPECT_EQ(row.entropy.scalar_type(), torch::kFloat32);
  EXPECT_LT(max_error(row.entropy, expected.entropy), 5e-5);  // products of bf16 are exact in fp32
  EXPECT_LT(max_error(row.lse, expected.lse), 5e-5);
  EXPECT_LT(max_error(row.out, expected.out), 0.02);  // out is rounded to bf16: 2^-9 of at most 4
}

TEST_P(Rows, ObeyTheChainRuleAndTheBounds) {
  const auto& shape = GetParam().shape;
  const auto in = inputs(shape, torch::kFloat32);
  const auto row = attend(in.query, in.key_list, in.value_list, shape.sets);
  EXPECT_LT(max_error(row.between() + row.within(), row.entropy), 1e-5);
  EXPECT_GE(row.entropy.min().item<double>(), 0);
  const auto keys = std::log(static_cast<double>(shape.sets.keys()));
  EXPECT_LE(row.entropy.max().item<double>(), keys + 1e-6);
  const auto seen = row.lse != -kInfinity;
  EXPECT_LT(max_error(row.mass().sum(-1), seen.to(torch::kFloat32)), 5e-6);  // lse of 20: 2e-6
  EXPECT_LT(
      max_error(
          row.mean().masked_select(seen),
          reference::attend(in.query, in.keys, in.values, shape.sets).mean().masked_select(seen)),
      5e-5);
}

TEST_P(Rows, ScoresAreTheStatisticsOfEachSet) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype);
  const auto scores = score(in.query, in.key_list, shape.sets, 5);
  const auto expected = reference::attend(in.query, in.keys, in.values, shape.sets);
  EXPECT_LT(max_error(scores.lse, expected.set_lse), tolerance);
  EXPECT_LT(max_error(scores.entropy, expected.set_entropy), tolerance);
  const auto group = shape.heads / shape.kv_heads;
  for (int64_t row = 0; row < shape.sets.rows(); ++row) {
    const auto seen = reference::visible(shape.sets, row);
    for (int64_t set = 0; set < shape.sets.sets(); ++set) {
      std::vector<int64_t> keys;
      for (std::size_t j = 0; j < seen.keys.size(); ++j) {
        if (seen.sets[j] == set) keys.push_back(seen.keys[j]);
      }
      const auto found = std::min<int64_t>(5, keys.size());
      const auto all = in.query.select(2, row)[0][group - 1].matmul(
                           in.keys[0][0].index_select(0, torch::tensor(keys, torch::kInt64)).t()) *
                       (shape.sets.factor(set) / std::sqrt(shape.features));
      const auto top = scores.top[0][group - 1][row][set];
      EXPECT_LT(max_error(top.slice(0, 0, found), std::get<0>(all.topk(found))), tolerance);
      EXPECT_TRUE((top.slice(0, found) == -kInfinity).all().item<bool>());
    }
  }
}

TEST_P(Rows, GradientsEqualTheTwins) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype, true);
  auto log_weight = log_weights(shape).to(dtype).set_requires_grad(true);
  const std::vector<Tensor> wanted{in.query, in.keys, in.values, log_weight};
  const auto found = torch::autograd::grad(
      {loss(attend(in.query, in.key_list, in.value_list, shape.sets, log_weight))}, wanted);
  const auto expected = torch::autograd::grad(
      {loss(reference::attend(in.query, in.keys, in.values, shape.sets, log_weight))}, wanted, {},
      {}, false, true);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_TRUE(found[i].isfinite().all().item<bool>());
    const auto twin = expected[i].defined() ? expected[i] : torch::zeros_like(wanted[i]);
    EXPECT_LT(max_error(found[i], twin), gradient_tolerance(GetParam(), twin)) << "input " << i;
  }
}

TEST_P(Rows, GradientsOfOneOutputEqualTheTwins) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype, true);
  const auto row = attend(in.query, in.key_list, in.value_list, shape.sets);
  const auto twin = reference::attend(in.query, in.keys, in.values, shape.sets);
  const auto compare = [&](const Tensor& output, const Tensor& expected_output) {
    const auto sum = [](const Tensor& x) { return x.masked_fill(x == -kInfinity, 0).cos().sum(); };
    const std::vector<Tensor> wanted{in.query, in.keys, in.values};
    const auto found = torch::autograd::grad({sum(output)}, wanted, {}, true, false, true);
    const auto expected =
        torch::autograd::grad({sum(expected_output)}, wanted, {}, true, false, true);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto zero = torch::zeros_like(wanted[i]);
      const auto gradient = expected[i].defined() ? expected[i] : zero;
      EXPECT_LT(max_error(found[i].defined() ? found[i] : zero, gradient),
                gradient_tolerance(GetParam(), gradient))
          << "input " << i;
    }
  };
  compare(row.out, twin.out);
  compare(row.lse, twin.lse);
  compare(row.entropy, twin.entropy);
}

TEST_P(Rows, GradientsOfScoresEqualTheTwins) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype, true);
  const auto scalar = [](const Tensor& lse, const Tensor& entropy) {
    return (lse.masked_fill(lse == -kInfinity, 0).sin() + entropy.cos()).sum();
  };
  const auto scores = score(in.query, in.key_list, shape.sets, 2);
  EXPECT_FALSE(scores.top.requires_grad());
  const auto found =
      torch::autograd::grad({scalar(scores.lse, scores.entropy)}, {in.query, in.keys});
  const auto twin = reference::attend(in.query, in.keys, in.values, shape.sets);
  const auto expected =
      torch::autograd::grad({scalar(twin.set_lse, twin.set_entropy)}, {in.query, in.keys});
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_LT(max_error(found[i], expected[i]), gradient_tolerance(GetParam(), expected[i]));
  }
}

TEST_P(Rows, HaveTheLargestScoresOnRequest) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype);
  for (const int64_t top : {1, 5, 7}) {
    const auto row = attend(in.query, in.key_list, in.value_list, shape.sets, {}, {.top = top});
    const auto scores = score(in.query, in.key_list, shape.sets, top);
    EXPECT_TRUE(torch::equal(row.set_top, scores.top));
    EXPECT_TRUE(torch::equal(row.set_lse, scores.lse));
  }
  EXPECT_FALSE(attend(in.query, in.key_list, in.value_list, shape.sets).set_top.defined());
}

using RowByKernel = ByKernel;

INSTANTIATE_TEST_SUITE_P(Kernels, RowByKernel, testing::ValuesIn(tested_kernels()), name_of_kernel);

TEST_P(RowByKernel, GivesDroppedKeysExactlyNoWeight) {
  const KeySets sets(5, 6, 26, reading_spans());
  const Shape shape{"", 1, 4, 2, 8, sets, {26}, 1};
  auto in = inputs(shape, torch::kFloat32);
  auto log_weight = torch::zeros({1, 4, 6, 5});
  log_weight.select(3, 3).fill_(-kInfinity);  // piece 3 for every row
  const auto clean = attend(in.query, in.key_list, in.value_list, sets, log_weight);
  in.keys.slice(2, 9, 18).fill_(std::nan(""));
  in.values.slice(2, 9, 18).fill_(std::nan(""));
  const auto poisoned = attend(in.query, in.key_list, in.value_list, sets, log_weight);
  EXPECT_TRUE(torch::equal(clean.out, poisoned.out));
  EXPECT_TRUE(torch::equal(clean.entropy, poisoned.entropy));
  EXPECT_TRUE(torch::equal(clean.set_lse, poisoned.set_lse));
  EXPECT_TRUE((poisoned.mass().select(3, 3) == 0).all().item<bool>());
  log_weight.select(2, 4).select(2, 3).fill_(0);  // row 4 keeps it: only row 4 may see the poison
  const auto row4 = attend(in.query, in.key_list, in.value_list, sets, log_weight);
  EXPECT_TRUE(row4.out.select(2, 4).isnan().all().item<bool>());
  EXPECT_TRUE(torch::equal(row4.out.slice(2, 0, 4), clean.out.slice(2, 0, 4)));
  EXPECT_TRUE(torch::equal(row4.entropy.slice(2, 5), clean.entropy.slice(2, 5)));
}

TEST_P(RowByKernel, HasNoLargestScoresOfADroppedSet) {
  const KeySets sets(5, 6, 26, reading_spans());
  const Shape shape{"", 1, 4, 2, 8, sets, {26}, 1};
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    const auto in = inputs(shape, dtype);
    auto log_weight = torch::zeros({1, 4, 6, 5}, dtype);
    log_weight.select(3, 3).fill_(-kInfinity);
    log_weight.select(2, 4).select(2, 3).fill_(0);  // row 4 keeps what all others drop
    const auto row = attend(in.query, in.keys, in.values, sets, log_weight, {.top = 2});
    const auto top = row.set_top.select(3, 3);  // [batch, heads, rows, top]
    EXPECT_TRUE((top.slice(2, 0, 4) == -kInfinity).all().item<bool>()) << dtype;
    EXPECT_TRUE((top.slice(2, 5) == -kInfinity).all().item<bool>()) << dtype;
    const auto whole = score(in.query, in.keys, sets, 2).top;
    EXPECT_LT(max_error(top.select(2, 4), whole.select(3, 3).select(2, 4)), 5e-5) << dtype;
    EXPECT_LT(max_error(row.set_top.slice(3, 0, 3), whole.slice(3, 0, 3)), 5e-5) << dtype;
  }
}

/// 0 * NaN is NaN: whatever other rows keep, a row takes nothing of a key that it drops.
TEST_P(RowByKernel, GivesDroppedKeysNoGradientOfTheQuery) {
  const KeySets sets(5, 6, 26, reading_spans());
  const Shape shape{"", 1, 4, 2, 8, sets, {26}, 1};
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    auto in = inputs(shape, dtype);
    auto log_weight = torch::zeros({1, 4, 6, 5}, dtype);
    for (const int64_t set : {0, 3}) {  // the first, and one behind others
      log_weight.select(3, set).fill_(-kInfinity);
      log_weight.select(2, 4).select(2, set).fill_(0);  // row 4 keeps it
    }
    const auto gradient = [&] {
      const auto query = in.query.clone().requires_grad_();
      const auto row = attend(query, in.keys, in.values, sets, log_weight);
      return torch::autograd::grad({loss(row)}, {query})[0];
    };
    const auto clean = gradient();
    for (auto of : {in.keys, in.values}) {
      of.slice(2, 0, 3).fill_(std::nan(""));
      of.slice(2, 9, 18).fill_(std::nan(""));
    }
    const auto poisoned = gradient();
    EXPECT_TRUE(poisoned.select(2, 4).isnan().all().item<bool>()) << dtype;
    EXPECT_TRUE(torch::equal(poisoned.slice(2, 0, 4), clean.slice(2, 0, 4))) << dtype;
    EXPECT_TRUE(torch::equal(poisoned.slice(2, 5), clean.slice(2, 5))) << dtype;
  }
}

/// A head whose rows all drop a set, beside one that keeps it of its own keys.
TEST_P(RowByKernel, GivesDroppedKeysOfAHeadNoGradientOfTheQuery) {
  const KeySets sets(
      2, 3, 3,
      {{.set = 0, .rows = 3, .keys = 2}, {.set = 1, .rows = 3, .first_key = 2, .keys = 1}});
  for (const auto dtype : {torch::kFloat32, torch::kFloat64}) {
    torch::manual_seed(7);
    const auto query = torch::randn({1, 2, 3, 8}, dtype).requires_grad_();
    const auto keys = torch::randn({1, 2, 3, 8}, dtype), values = torch::randn_like(keys);
    auto log_weight = torch::zeros({1, 2, 3, 2}, dtype);
    log_weight.select(1, 1).select(2, 1).fill_(-kInfinity);
    for (const auto& of : {keys, values}) {
      of.select(1, 1).slice(1, 2).fill_(std::nan(""));
    }
    const auto row = attend(query, keys, values, sets, log_weight);
    const auto gradient = torch::autograd::grad({row.out.sum()}, {query})[0];
    EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << dtype;
  }
}

TEST_P(RowByKernel, OfNoKeysHasGradients) {
  const auto query = torch::randn({1, 64, 5, 8}).requires_grad_();
  const auto scores = score(query, {}, KeySets(1, 5, 0, {}), 0);
  EXPECT_TRUE((scores.lse == -kInfinity).all().item<bool>());
  const auto gradient = torch::autograd::grad({scores.entropy.sum()}, {query})[0];
  EXPECT_TRUE((gradient == 0).all().item<bool>());
}

/// A kernel that is chosen is the one that runs, whatever is asked of it: two kernels add up in
/// orders of their own, which shows in the last bits.
TEST_P(RowByKernel, IsComputedByTheKernelThatIsChosen) {
  const Shape few{"", 16, 6, 2, 32, all_keys(1, 700), {700}, 16},
      many{"", 1, 6, 2, 32, causal_keys(90, 700), {700}, 1};
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const auto& shape : {few, many}) {
      const auto rows = shape.sets.rows();
      const auto threshold = torch::full({shape.batch, 6, rows}, -1.0f);
      const std::vector<std::pair<const char*, RowOptions>> wishes{
          {"plain", {}},
          {"without entropy", {.entropy = false}},
          {"threshold", {.threshold = threshold}},
          {"top", {.top = 3}},
          {"budget", {.budget = {.keys = 4}}},
          {"budget, first key free", {.budget = {.share = 0.1, .counts_first = false}}}};
      for (const auto& [wish, options] : wishes) {
        const auto run = [&](std::string_view kernel) {
          use_kernel(kernel);
          auto in = inputs(shape, dtype, true);
          const auto row = attend(in.query, in.keys, in.values, shape.sets, {}, options);
          const auto loss =
              options.budget.wanted() ? row.out.sum() + row.top_mass.sum() : row.out.sum();
          const auto gradient = torch::autograd::grad({loss}, {in.keys})[0];
          return std::pair(row.lse.detach(), gradient);
        };
        const auto [lse, gradient] = run(GetParam());
        const auto [portable_lse, portable_gradient] = run("portable");
        use_kernel(GetParam());
        const bool is_portable = GetParam() == "portable";
        EXPECT_EQ(torch::equal(lse, portable_lse), is_portable)
            << wish << ", " << dtype << ", " << rows << " rows";
        EXPECT_EQ(torch::equal(gradient, portable_gradient), is_portable)
            << wish << ", " << dtype << ", " << rows << " rows";
      }
    }
  }
}

TEST_P(RowByKernel, ASecondDerivativeIsAnError) {
  const Shape shape{"", 1, 4, 2, 8, causal_keys(5, 5), {5}, 1};
  const auto in = inputs(shape, torch::kFloat32, true);
  const auto row = attend(in.query, in.keys, in.values, shape.sets);
  const auto gradient = torch::autograd::grad({row.entropy.sum() + row.out.sum()}, {in.query}, {},
                                              /*retain_graph=*/true, /*create_graph=*/true)[0];
  EXPECT_EQ(message([&] { gradient.square().sum().backward(); }),
            "motet::attend: differentiable once; a second derivative (create_graph) is not known");
}

TEST_P(RowByKernel, IsTheSameWithAnyNumberOfThreads) {
  const std::vector<Shape> shapes{{"", 1, 6, 2, 16, causal_keys(300, 300), {300}, 1},
                                  {"", 1, 9, 3, 64, all_keys(1, 4000), {4000}, 1},
                                  {"", 1, 4, 2, 8, {5, 6, 26, reading_spans()}, {26}, 1}};
  const auto threads = at::get_num_threads();
  for (const auto& shape : shapes) {
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
      const auto in = inputs(shape, dtype, true);
      const auto run = [&](int count) {
        at::set_num_threads(count);
        const auto row =
            attend(in.query, in.keys, in.values, shape.sets, {}, {.top = 3, .budget = {.keys = 4}});
        const auto loss = row.out.sum() + row.entropy.sum() + row.top_mass.sum();
        auto found = torch::autograd::grad({loss}, {in.query, in.keys, in.values});
        found.insert(found.end(), {row.out, row.lse, row.entropy, row.set_top, row.top_mass});
        const at::NoGradGuard no_grad;
        const auto plain = attend(in.query, in.keys, in.values, shape.sets);
        found.insert(found.end(), {plain.out, plain.lse, plain.set_entropy});
        return found;
      };
      const auto one = run(1);
      for (const int count : {2, 4}) {
        const auto more = run(count);
        for (std::size_t i = 0; i < one.size(); ++i) {
          EXPECT_TRUE(torch::equal(one[i], more[i]))
              << "output " << i << ", " << dtype << ", " << shape.sets.rows() << " rows, " << count
              << " threads";
        }
      }
    }
  }
  at::set_num_threads(threads);
}

TEST_P(RowByKernel, HeadsOfAnySizeEqualTheTwins) {
  for (int64_t features = 16; features <= 256; features += 8) {
    for (const auto& sets : {all_keys(1, 70), causal_keys(11, 40)}) {
      for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
        const Shape shape{"", 1, 2, 1, features, sets, {sets.keys()}, 1};
        const auto in = inputs(shape, dtype, true);
        const auto wide = torch::cat({in.values, in.values * 0.5}, 3);
        const auto values = wide.slice(3, 0, 272 - features).detach().set_requires_grad(true);
        const auto row = attend(in.query, in.keys, values, sets);
        const auto twin = reference::attend(in.query, in.keys, values, sets);
        const bool single = dtype == torch::kFloat32;
        EXPECT_LT(max_error(row.out, twin.out), single ? 5e-5 : 0.02) << features;
        EXPECT_LT(max_error(row.lse, twin.lse), 2e-4) << features;
        EXPECT_LT(max_error(row.entropy, twin.entropy), 2e-4) << features;
        const std::vector<Tensor> wanted{in.query, in.keys, values};
        const auto found = torch::autograd::grad({loss(row)}, wanted);
        const auto expected = torch::autograd::grad({loss(twin)}, wanted);
        for (std::size_t i = 0; i < wanted.size(); ++i) {
          const auto largest = std::max(1.0, expected[i].abs().max().item<double>());
          EXPECT_LT(max_error(found[i], expected[i]), (single ? 5e-5 : 0.02) * largest)
              << features << ", input " << i << ", " << dtype;
        }
      }
    }
  }
}

TEST_P(RowByKernel, LowPrecisionHasTheGradientsOfItsInputs) {
  for (const auto& shape : shapes()) {
    const auto in = inputs(shape, torch::kBFloat16, true);
    auto log_weight = log_weights(shape).to(torch::kFloat32).set_requires_grad(true);
    const std::vector<Tensor> wanted{in.query, in.keys, in.values, log_weight};
    const auto row = attend(in.query, in.key_list, in.value_list, shape.sets, log_weight);
    const auto found = torch::autograd::grad({loss(row)}, wanted);
    const auto twin = reference::attend(in.query, in.keys, in.values, shape.sets, log_weight);
    EXPECT_LT(max_error(row.lse, twin.lse), 5e-5) << shape;
    EXPECT_LT(max_error(row.entropy, twin.entropy), 5e-5) << shape;
    const auto expected = torch::autograd::grad({loss(twin)}, wanted, {}, {}, false, true);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto exact = expected[i].defined() ? expected[i] : torch::zeros_like(wanted[i]);
      const auto largest = exact.numel() == 0 ? 0 : exact.abs().max().item<double>();
      EXPECT_LT(max_error(found[i], exact), 0.02 * std::max(1.0, largest))  // gradients are bf16
          << shape << ", input " << i;
    }
  }
}

TEST_P(RowByKernel, WithoutQueriesOrHeadsIsEmpty) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    for (const auto& sets : {causal_keys(70, 70), all_keys(1, 300)}) {
      for (const auto& shape : {Shape{"", 0, 4, 2, 8, sets, {sets.keys()}, 1},
                                Shape{"", 0, 4, 2, 8, sets, {sets.keys()}, 0},
                                Shape{"", 2, 0, 1, 8, sets, {sets.keys()}, 2}}) {
        const auto in = inputs(shape, dtype, true);
        const auto row = attend(in.query, in.keys, in.values, sets);
        EXPECT_EQ(row.out.sizes(), in.query.sizes());
        EXPECT_EQ(row.lse.sizes(), in.query.sizes().slice(0, 3));
        const auto gradients = torch::autograd::grad({row.out.sum() + row.entropy.sum()},
                                                     {in.query, in.keys, in.values});
        EXPECT_TRUE((gradients[1] == 0).all().item<bool>());
        EXPECT_EQ(gradients[1].sizes(), in.keys.sizes());
      }
    }
  }
}

/// Whatever its last bits are, which some ways to 2^x take for an exponent.
TEST_P(RowByKernel, WhatIsNotANumberShowsInEveryStatistic) {
  for (const auto& sets : {causal_keys(70, 70), all_keys(1, 4000)}) {
    const Shape shape{"", 1, 2, 1, 8, sets, {sets.keys()}, 1};
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
      for (const int32_t bits : {0x7fc00000, 0x7fc00001, 0x7fc0ff80, -1}) {
        auto in = inputs(shape, dtype);
        in.keys.select(2, 3).copy_(torch::tensor({bits}, torch::kInt32).view(torch::kFloat32));
        const auto row =
            attend(in.query, in.keys, in.values, sets, {}, {.top = 5, .budget = {.keys = 2}});
        const auto last = sets.rows() - 1;  // sees it; rows 0 to 2 do not
        for (const auto& statistic :
             {row.lse, row.entropy, row.set_lse.select(3, 0), row.set_entropy.select(3, 0),
              row.out.select(3, 0), row.set_top.select(3, 0).select(3, 0)}) {
          EXPECT_TRUE(statistic.select(2, last).isnan().all().item<bool>())
              << statistic.sizes() << ", bits " << bits;
          EXPECT_FALSE(statistic.slice(2, 0, last > 0 ? 3 : 0).isnan().any().item<bool>());
        }
        EXPECT_TRUE(row.between().select(2, last).isnan().all().item<bool>());
      }
    }
  }
}

/// Rows of three keys with these scores, seen through spans of so many keys.
Row row_of_scores(const std::vector<float>& scores, const std::vector<int64_t>& spans) {
  auto keys = torch::zeros({1, 1, 3, 8});
  keys.select(3, 0).copy_(torch::tensor(scores));
  auto query = torch::zeros({1, 1, 1, 8});
  query.select(3, 0).fill_(1);
  std::vector<Span> seen;
  int64_t first = 0;
  for (const auto count : spans) {
    seen.push_back({.rows = 1, .first_key = first, .keys = count});
    first += count;
  }
  return attend(query, keys, torch::ones({1, 1, 3, 8}), KeySets(1, 1, 3, seen), {},
                {.rule = {.scale = 1}});
}

TEST_P(RowByKernel, WhatIsFarBelowAddsNothingToTheEntropy) {
  const double two = std::log(2.0);
  for (const float far : {1e30F, 1e36F, 1e38F, 3e38F}) {
    for (const auto& spans : {std::vector<int64_t>{3}, std::vector<int64_t>{1, 2}}) {
      for (const auto& scores : {std::vector{0.F, 0.F, -far}, std::vector{-far, 0.F, 0.F}}) {
        EXPECT_NEAR(row_of_scores(scores, spans).entropy.item<double>(), two, 1e-5) << far;
      }
    }
  }
  EXPECT_NEAR(row_of_scores({1e36F, 1e36F, -1e36F}, {3}).entropy.item<double>(), two, 1e-5);
}

/// The lse of large scores cannot hold how many there are.
TEST_P(RowByKernel, LargeScoresAreCountedAcrossSpans) {
  for (const float score : {-1e30F, 1e30F}) {
    for (const auto& spans : {std::vector<int64_t>{2, 1}, std::vector<int64_t>{1, 1, 1}}) {
      const auto row = row_of_scores({score, score, score}, spans);
      EXPECT_NEAR(row.entropy.item<double>(), std::log(3.0), 1e-5) << score;
      EXPECT_NEAR(row.out.mean().item<double>(), 1, 1e-6) << score;
    }
  }
}

TEST_P(RowByKernel, AnyFiniteLogWeightIsTaken) {
  for (const auto& shape : {Shape{"", 1, 4, 2, 8, {5, 6, 26, reading_spans()}, {26}, 1},
                            Shape{"",
                                  1,
                                  9,
                                  3,
                                  64,
                                  {2,
                                   1,
                                   3000,
                                   {{.set = 0, .rows = 1, .keys = 1000},
                                    {.set = 1, .rows = 1, .first_key = 1000, .keys = 2000}}},
                                  {3000},
                                  1}}) {
    const auto in = inputs(shape, torch::kFloat32);
    const auto sets = shape.sets.sets();
    for (const double weight : {-200.0, -1e34, -3e38}) {
      auto log_weight = torch::zeros({1, shape.heads, shape.sets.rows(), sets});
      log_weight.select(3, sets - 1).fill_(weight);
      const auto row = attend(in.query, in.keys, in.values, shape.sets, log_weight);
      const auto twin = reference::attend(in.query, in.keys, in.values, shape.sets, log_weight);
      EXPECT_LT(max_error(row.out, twin.out), 5e-5) << weight;
      EXPECT_LT(max_error(row.lse, twin.lse), 5e-5) << weight;
      EXPECT_LT(max_error(row.entropy, twin.entropy), 5e-5) << weight;
    }
  }
}

TEST_P(RowByKernel, PartsHaveFiniteGradientsWhereASetIsDropped) {
  const KeySets sets(5, 6, 26, reading_spans());
  const Shape shape{"", 1, 4, 2, 8, sets, {26}, 1};
  const auto in = inputs(shape, torch::kFloat32, true);
  auto log_weight = torch::zeros({1, 4, 6, 5});
  log_weight.select(3, 3).fill_(-kInfinity);
  const auto row = attend(in.query, in.keys, in.values, sets, log_weight);
  for (const auto& part : {row.between(), row.within(), row.mass()}) {
    for (const auto& gradient :
         torch::autograd::grad({part.sum()}, {in.query, in.keys}, {}, /*retain_graph=*/true)) {
      EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << part.sizes();
    }
  }
}

TEST_P(RowByKernel, WithoutEntropyIsTheSameRow) {
  const Shape shape{"", 1, 2, 1, 8, causal_keys(9, 9), {9}, 1};
  const auto in = inputs(shape, torch::kFloat32);
  const auto with = attend(in.query, in.keys, in.values, shape.sets);
  const auto without = attend(in.query, in.keys, in.values, shape.sets, {}, {.entropy = false});
  EXPECT_TRUE(torch::equal(with.out, without.out));
  EXPECT_TRUE(torch::equal(with.lse, without.lse));
  EXPECT_FALSE(without.entropy.defined());
}

TEST(Row, ErrorsSayWhatDoesNotFit) {
  const auto q = torch::zeros({1, 4, 3, 8}), k = torch::zeros({1, 2, 5, 8});
  const auto sets = all_keys(3, 5);
  EXPECT_EQ(message([&] { attend(q, {}, {}, KeySets(1, 3, 0, {})); }),
            "motet::attend: no values; motet::score is for keys alone");
  EXPECT_EQ(message([&] { attend(q, k, k, all_keys(2, 5)); }),
            "motet::attend: 3 query rows, but the sets describe 2");
  EXPECT_EQ(message([&] { attend(q, k, k, all_keys(3, 6)); }),
            "motet::attend: 5 keys, but the sets describe 6");
  EXPECT_EQ(message([&] {
              attend(q, torch::zeros({1, 3, 5, 8}), k, sets);
            }),
            "motet::attend: 4 query heads do not divide into 3 heads of keys");
  EXPECT_EQ(message([&] { attend(q.slice(3, 0, 0), k.slice(3, 0, 0), k, sets); }),
            "motet::attend: a query of [1, 4, 3, 0], without features; it is [batch, heads, query, "
            "features]");
  const std::vector<Tensor> unlike{k, torch::zeros({1, 1, 5, 8})};
  EXPECT_EQ(message([&] { attend(q, unlike, unlike, all_keys(3, 10)); }),
            "motet::attend: keys of 2 heads in one tensor and of 1 in another; all have the same");
  EXPECT_EQ(message([&] {
              attend(q, k, torch::zeros({1, 2, 4, 8}), sets);
            }),
            "motet::attend: keys of [1, 2, 5, 8], values of [1, 2, 4, 8]");
  EXPECT_EQ(message([&] {
              attend(q, k, k, sets, torch::zeros({1, 4, 3, 2}));
            }),
            "motet::attend: log weights of [1, 4, 3, 2]; they are [batch, heads, query, sets] = "
            "[1, 4, 3, 1]");
  EXPECT_EQ(message([&] { attend(q, k.to(torch::kBFloat16), k, sets); }),
            "motet::attend: keys are BFloat16 on cpu, the query is Float on cpu");
  EXPECT_EQ(
      message([&] {
        attend(q, {k.slice(2, 0, 2), k.slice(2, 2)}, {k.slice(2, 0, 2), k.slice(2, 2)}, sets);
      }),
      "motet::attend: the span (set 0, rows 0+3, keys 0+5) crosses the end of a key tensor at "
      "2");
  EXPECT_EQ(message([&] { score(q, k, sets, -1); }),
            "motet::score: top = -1; 0 or more of the largest scores can be kept");
  EXPECT_EQ(message([&] { attend(q, k, k, sets, {}, {.budget = {.keys = -2}}); }),
            "motet::attend: a budget of -2 keys");
  EXPECT_EQ(message([&] { attend(q, k, k, sets, {}, {.budget = {.share = 1.5}}); }),
            "motet::attend: a budget of a share of 1.5 of the keys; it is within (0, 1]");
}

TEST(KeySets, RefuseWhatARowCannotSee) {
  EXPECT_EQ(message([] { KeySets(1, 3, 5, {{.rows = 3, .keys = 6}}); }),
            "motet::KeySets: the span (set 0, rows 0+3, keys 0+6) leaves 1 sets, 3 rows, 5 keys");
  constexpr auto kMost = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(message([] { KeySets(1, 5, 5, {{.rows = 1, .first_key = kMost, .keys = 1}}); }),
            "motet::KeySets: the span (set 0, rows 0+1, keys 9223372036854775807+1) leaves 1 sets, "
            "5 rows, 5 keys");
  EXPECT_EQ(message([] { KeySets(1, 5, 5, {{.first_row = kMost, .rows = 1, .keys = 1}}); }),
            "motet::KeySets: the span (set 0, rows 9223372036854775807+1, keys 0+1) leaves 1 sets, "
            "5 rows, 5 keys");
  EXPECT_EQ(message([] { KeySets(1, 3, 5, {{.rows = 3, .keys = 2, .causal = true}}); }),
            "motet::KeySets: the causal span (set 0, rows 0+3, keys 0+2, causal) has fewer keys "
            "than rows, so its first rows would see none");
  EXPECT_EQ(message([] {
              KeySets(2, 3, 5,
                      {{.rows = 3, .keys = 3}, {.set = 1, .rows = 1, .first_key = 2, .keys = 1}});
            }),
            "motet::KeySets: rows see keys twice in (set 0, rows 0+3, keys 0+3) and (set 1, rows "
            "0+1, keys 2+1)");
  EXPECT_EQ(message([] { all_keys(1, 1).with_factor(0, 0); }),
            "motet::KeySets::with_factor: 0 is not a finite factor above 0");
}

TEST(KeySets, CountTheirPairs) {
  EXPECT_EQ(causal_keys(4, 4).pairs(), 10);
  EXPECT_EQ(KeySets(5, 6, 26, reading_spans()).pairs(), 6 * 18 + (3 + 4 + 5 + 6 + 7 + 8));
}

}  // namespace
}  // namespace motet
