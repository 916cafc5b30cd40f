#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <functional>
#include <limits>
#include <tuple>

#include "attention/cases.h"
#include "kernels.h"
#include "motet/attention/kernel.h"
#include "motet/attention/rows.h"
#include "motet/attention/scores.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

std::vector<KeyBudget> budgets() {
  return {{.keys = 1},
          {.keys = 3},
          {.keys = 40},
          {.share = 0.2},
          {.keys = 2, .counts_first = false},
          {.share = 0.5, .counts_first = false}};
}

/// Every test of this suite runs with its case's kernel.
class TopMass : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override { use_kernel(GetParam().kernel); }
  void TearDown() override { use_kernel(kernels().front()); }
};

INSTANTIATE_TEST_SUITE_P(Cases, TopMass, testing::ValuesIn(cases()),
                         testing::PrintToStringParamName());

TEST_P(TopMass, EqualsTheTwin) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype);
  const auto log_weight = log_weights(shape);
  for (const auto& budget : budgets()) {
    for (const bool weighted : {false, true}) {
      const auto weights = weighted ? std::optional(log_weight) : std::nullopt;
      const RowOptions options{.budget = budget};
      const auto row = attend(in.query, in.key_list, in.value_list, shape.sets, weights, options);
      const auto twin =
          reference::attend(in.query, in.keys, in.values, shape.sets, weights, options);
      EXPECT_LT(max_error(row.top_mass, twin.top_mass), tolerance) << budget.keys;
      EXPECT_LT(max_error(row.top_threshold, twin.top_threshold), tolerance) << budget.keys;
      const auto all = twin.top_threshold == -kInfinity;
      EXPECT_TRUE((row.top_mass.masked_select(all) == 1).all().item<bool>());
      EXPECT_LE(row.top_mass.max().item<double>(), 1);
      EXPECT_GT(row.top_mass.min().item<double>(), 0);
    }
  }
}

TEST_P(TopMass, IsThatOfTheKeysAboveItsThreshold) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype);
  const auto log_weight = log_weights(shape);
  const auto row =
      attend(in.query, in.key_list, in.value_list, shape.sets, log_weight, {.budget = {.keys = 3}});
  const auto kept = attend(in.query, in.key_list, in.value_list, shape.sets, log_weight,
                           {.threshold = row.top_threshold, .budget = {.keys = 3}});
  EXPECT_LT(max_error(kept.lse, row.lse + row.top_mass.log()), tolerance);
  EXPECT_TRUE((kept.top_mass == 1).all().item<bool>());
  const auto scores = score(in.query, in.key_list, shape.sets, 0, {.budget = {.keys = 3}});
  const auto plain =
      attend(in.query, in.key_list, in.value_list, shape.sets, {}, {.budget = {.keys = 3}});
  EXPECT_TRUE(torch::equal(scores.top_threshold, plain.top_threshold));
}

TEST(KeyBudget, IsOneKeyAtLeast) {
  const auto keys = keys_of_rows({.share = 1e-12}, all_keys(2, 5));
  EXPECT_TRUE((keys == 1).all().item<bool>());
  EXPECT_TRUE((keys_of_rows({.share = 1e-12}, all_keys(2, 1)) == 0).all().item<bool>());  // all
}

/// Gradients of `loss` through `row` and its twin, for all inputs of either.
void expect_equal_gradients(const Case& c, const Tensor& loss, const Tensor& twin,
                            const std::vector<Tensor>& wanted) {
  const auto found = torch::autograd::grad({loss}, wanted, {}, {}, false, true);
  const auto expected = torch::autograd::grad({twin}, wanted, {}, {}, false, true);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto zero = torch::zeros_like(wanted[i]);
    const auto gradient = found[i].defined() ? found[i] : zero;
    const auto of_twin = expected[i].defined() ? expected[i] : zero;
    EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << "input " << i;
    EXPECT_LT(max_error(gradient, of_twin), gradient_tolerance(c, of_twin)) << "input " << i;
  }
}

TEST_P(TopMass, GradientsThroughAllOutputsEqualTheTwins) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype, true);
  for (const auto& budget : budgets()) {
    const auto log_weight = log_weights(shape).to(dtype).set_requires_grad(true);
    const RowOptions options{.budget = budget};
    expect_equal_gradients(
        GetParam(),
        loss(attend(in.query, in.key_list, in.value_list, shape.sets, log_weight, options)),
        loss(reference::attend(in.query, in.keys, in.values, shape.sets, log_weight, options)),
        {in.query, in.keys, in.values, log_weight});
  }
}

TEST_P(TopMass, GradientsOfEveryPenaltyEqualTheTwins) {
  const auto& [shape, kernel, dtype, tolerance] = GetParam();
  const auto in = inputs(shape, dtype, true);
  const RowOptions options{.budget = {.keys = 2}};
  const auto row = attend(in.query, in.key_list, in.value_list, shape.sets, {}, options);
  const auto twin = reference::attend(in.query, in.keys, in.values, shape.sets, {}, options);
  const auto compare = [&](const std::function<Tensor(const Row&)>& penalty) {
    const std::vector<Tensor> wanted{in.query, in.keys};
    const auto found = torch::autograd::grad({penalty(row)}, wanted, {}, true, false, true);
    const auto expected = torch::autograd::grad({penalty(twin)}, wanted, {}, true, false, true);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto of_twin = expected[i].defined() ? expected[i] : torch::zeros_like(wanted[i]);
      EXPECT_TRUE(found[i].isfinite().all().item<bool>());
      EXPECT_LT(max_error(found[i], of_twin), gradient_tolerance(GetParam(), of_twin));
    }
  };
  compare(
      [](const Row& r) { return (1 - r.top_mass).sum() + 0 * r.lse.nan_to_num(0, 0, 0).sum(); });
  compare([](const Row& r) { return -r.top_mass.log().sum() + 0 * r.entropy.sum(); });
  compare([](const Row& r) { return (0.7 - r.top_mass).clamp_min(0).sum() + 0 * r.entropy.sum(); });
  compare([](const Row& r) { return r.entropy.sum() + 0 * r.top_mass.sum(); });
}

using TopMassByKernel = ByKernel;

INSTANTIATE_TEST_SUITE_P(Kernels, TopMassByKernel, testing::ValuesIn(kernels()), name_of_kernel);

TEST_P(TopMassByKernel, IsOneWithoutAGradientWhereARowSeesNoMore) {
  torch::manual_seed(3);
  const auto q = torch::randn({1, 2, 9, 8}).set_requires_grad(true);
  const auto k = torch::randn({1, 1, 9, 8}).set_requires_grad(true);
  const auto row = attend(q, k, k.detach(), causal_keys(9, 9), {}, {.budget = {.keys = 5}});
  EXPECT_TRUE((row.top_mass.slice(2, 0, 5) == 1).all().item<bool>());
  EXPECT_TRUE((row.top_threshold.slice(2, 0, 5) == -kInfinity).all().item<bool>());
  EXPECT_TRUE((row.top_mass.slice(2, 5) < 1).all().item<bool>());
  const auto gradients = torch::autograd::grad({row.top_mass.slice(2, 0, 5).sum()}, {q, k});
  EXPECT_TRUE((gradients[0] == 0).all().item<bool>());
  EXPECT_TRUE((gradients[1] == 0).all().item<bool>());
}

/// Queries of one feature over keys of small whole numbers: equal scores are equal in every
/// precision, and orders are what they are made to be.
TEST_P(TopMassByKernel, CountsTiesAndFindsThemInAnyOrder) {
  torch::manual_seed(5);
  constexpr int64_t kKeys = 1500, kRows = 40;
  const auto steps = torch::arange(kKeys).to(torch::kFloat32);
  const std::vector<Tensor> orders{
      steps,                                               // every key is larger than all before
      -steps,                                              // or smaller
      torch::zeros({kKeys}),                               // or equal
      (steps / 300).floor(),                               // many ties, rising
      -(steps / 300).floor(),                              // and falling
      torch::randint(0, 40, {kKeys}).to(torch::kFloat32),  // and mixed
      torch::where(steps == 700, torch::ones({}), torch::zeros({})),  // one above ties
  };
  for (std::size_t i = 0; i < orders.size(); ++i) {
    const auto q = torch::ones({1, 2, kRows, 8});
    const auto k = torch::constant_pad_nd(orders[i].view({1, 1, kKeys, 1}), {0, 7});
    for (const auto& budget : std::vector<KeyBudget>{{.keys = 1},
                                                     {.keys = 7},
                                                     {.keys = 450},
                                                     {.share = 0.3},
                                                     {.keys = 7, .counts_first = false}}) {
      const RowOptions options{.rule = {.scale = 0.0625}, .budget = budget};
      const auto sets = causal_keys(kRows, kKeys);
      const auto row = attend(q, k, k, sets, {}, options);
      const auto twin = reference::attend(q, k, k, sets, {}, options);
      EXPECT_LT(max_error(row.top_mass, twin.top_mass), 1e-5) << "order " << i;  // sums in fp32
      EXPECT_LT(max_error(row.top_threshold, twin.top_threshold), 1e-5) << "order " << i;
    }
    for (const auto& budget : std::vector<KeyBudget>{{.keys = 7}, {.keys = 450}}) {
      const RowOptions options{.rule = {.scale = 0.0625}, .budget = budget};
      const auto leaf_q = torch::ones({1, 2, 3, 8}).set_requires_grad(true);
      const auto leaf_k = k.clone().set_requires_grad(true);
      const std::vector<Tensor> leaves{leaf_q, leaf_k};
      const auto gradients = [&](const Row& row) {  // masses differ from row to row
        return torch::autograd::grad(
            {(row.top_mass * torch::arange(1, 4)).sum() + 0 * row.lse.sum()}, leaves, {}, {}, false,
            /*allow_unused=*/true);
      };
      const auto sets = causal_keys(3, kKeys);
      const auto found = gradients(attend(leaf_q, leaf_k, k, sets, {}, options));
      const auto exact = gradients(reference::attend(leaf_q, leaf_k, k, sets, {}, options));
      const auto terms =
          *options.rule.scale * k.abs().max().item<double>();  // as large as they get
      for (std::size_t j = 0; j < leaves.size(); ++j) {
        const auto twin = exact[j].defined() ? exact[j] : torch::zeros_like(leaves[j]);
        EXPECT_LT(max_error(found[j], twin), 1e-5 * std::max(1.0, terms))
            << "order " << i << ", input " << j;
      }
    }
  }
}

TEST_P(TopMassByKernel, IsTheSameWithAnyNumberOfThreads) {
  const Shape shape{"", 1, 6, 2, 16, causal_keys(300, 300), {300}, 1};
  const auto in = inputs(shape, torch::kFloat32, true);
  const auto with = [&](int threads) {
    at::set_num_threads(threads);
    const auto row =
        attend(in.query, in.keys, in.values, shape.sets, {}, {.budget = {.share = 0.1}});
    const auto gradients = torch::autograd::grad(
        {row.out.sum() + row.entropy.sum() + row.top_mass.sum()}, {in.query, in.keys, in.values});
    return std::tuple(row, gradients);
  };
  const auto before = at::get_num_threads();
  const auto [one, of_one] = with(1);
  for (const int threads : {2, 4}) {
    const auto [more, of_more] = with(threads);
    EXPECT_TRUE(torch::equal(one.top_mass, more.top_mass)) << threads;
    EXPECT_TRUE(torch::equal(one.top_threshold, more.top_threshold)) << threads;
    for (std::size_t i = 0; i < of_one.size(); ++i) {
      EXPECT_TRUE(torch::equal(of_one[i], of_more[i])) << threads;
    }
  }
  at::set_num_threads(before);
}

TEST_P(TopMassByKernel, ChangesNothingElse) {
  // Rows enough that keys are not split into parts, which they never are with a budget. Other rows
  // share a unit of work with a row, so its sums may be rescaled elsewhere: as between any two ways
  // to the same row in fp32 (Case::tolerance).
  const Shape shape{"", 1, 6, 2, 16, causal_keys(400, 400), {400}, 1};
  const auto in = inputs(shape, torch::kFloat32);
  const auto with = attend(in.query, in.keys, in.values, shape.sets, {}, {.budget = {.keys = 4}});
  const auto without = attend(in.query, in.keys, in.values, shape.sets);
  EXPECT_LT(max_error(with.out, without.out), 5e-5);
  EXPECT_LT(max_error(with.lse, without.lse), 5e-5);
  EXPECT_LT(max_error(with.entropy, without.entropy), 5e-5);
  EXPECT_FALSE(without.top_mass.defined());
  EXPECT_FALSE(without.top_threshold.defined());
}

TEST(KeyBudget, CountsWhatRowsSee) {
  const KeySets sets(5, 6, 26, reading_spans());  // rows see 18 keys, and 3 to 8 of their own
  EXPECT_TRUE(torch::equal(keys_of_rows({.keys = 21}, sets),
                           torch::tensor({0, 21, 21, 21, 21, 21}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(keys_of_rows({.share = 0.1}, sets),
                           torch::tensor({3, 3, 3, 3, 3, 3}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(keys_of_rows({.keys = 21, .counts_first = false}, sets),
                           torch::tensor({0, 0, 21, 21, 21, 21}, torch::kInt64)));
  auto log_weight = torch::zeros({1, 1, 6, 5});
  log_weight.select(3, 3).fill_(-kInfinity);  // nine keys less
  EXPECT_TRUE(torch::equal(keys_of_rows({.keys = 13}, sets, log_weight),
                           torch::tensor({0, 0, 13, 13, 13, 13}, torch::kInt64).view({1, 1, 6})));
}

}  // namespace
}  // namespace motet
