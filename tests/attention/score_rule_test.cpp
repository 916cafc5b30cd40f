#include "motet/attention/score_rule.h"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "attention/cases.h"
#include "attention/shapes.h"
#include "kernels.h"
#include "motet/attention/budget.h"
#include "motet/attention/probabilities.h"
#include "motet/attention/rows.h"
#include "motet/attention/scores.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

/// First visible keys of rows that see no more than `window` keys of a causal span.
std::vector<int64_t> behind_a_window(int64_t rows, int64_t keys, int64_t window) {
  std::vector<int64_t> first;
  for (int64_t row = 0; row < rows; ++row) {
    first.push_back(std::max<int64_t>(0, keys - rows + row + 1 - window));
  }
  return first;
}

/// The spans of a reading, each of which hides some first keys; row 5 sees no key of piece 1, rows
/// 1 to 5 none of piece 2.
std::vector<Span> hiding_spans() {
  auto spans = reading_spans();
  spans[0].first_visible = {0, 0, 0, 1, 1, 3};
  spans[1].first_visible = {0, 0, 3, 3, 4, 5};
  spans[2].first_visible = {0, 1, 1, 1, 1, 1};
  spans[3].first_visible = {2, 2, 2, 7, 7, 8};
  spans[4].first_visible = behind_a_window(6, 8, 3);
  return spans;
}

std::vector<Shape> hiding_shapes() {
  const auto one = [](int64_t rows, int64_t keys, bool causal, std::vector<int64_t> first) {
    return KeySets(
        1, rows, keys,
        {{.rows = rows, .keys = keys, .causal = causal, .first_visible = std::move(first)}});
  };
  return {
      {"Steps", 1, 2, 2, 8, one(5, 9, false, {0, 0, 3, 3, 5}), {9}, 1},
      {"RowsOfNoKey", 2, 2, 1, 8, one(5, 6, false, {0, 2, 6, 6, 6}), {6}, 2},
      {"CausalRowsOfNoKey", 1, 2, 1, 8, one(5, 5, true, {0, 3, 3, 3, 4}), {5}, 1},
      {"Window", 2, 4, 2, 16, one(13, 17, true, behind_a_window(13, 17, 4)), {17}, 2},
      {"WindowOfManyBlocks",
       1,
       2,
       1,
       8,
       one(140, 2600, true, behind_a_window(140, 2600, 2300)),
       {2600},
       1},
      {"ReadingInTensors", 1, 6, 2, 8, {5, 6, 26, hiding_spans()}, {3, 5, 1, 9, 8}, 1},
      {"ReadingBatchOfHidden",
       3,
       4,
       2,
       8,
       KeySets(5, 6, 26, hiding_spans()).with_factor(1, 0.5).with_factor(4, 2),
       {26},
       1},
  };
}

constexpr double kCap = 5;

/// One kernel on one shape in one precision, with a soft cap or without.
struct RuleCase : Case {
  std::optional<double> cap;

  friend std::ostream& operator<<(std::ostream& out, const RuleCase& c) {
    return out << static_cast<const Case&>(c) << (c.cap ? "_Capped" : "");
  }
};

std::vector<RuleCase> rule_cases() {
  std::vector<RuleCase> cases;
  for (const auto& shape : hiding_shapes()) {
    for (const auto cap : {std::optional<double>(), std::optional(kCap)}) {
      cases.push_back({{shape, "portable", torch::kFloat64, 1e-12}, cap});
      cases.push_back({{shape, kernels().front(), torch::kFloat32, 5e-5}, cap});
    }
  }
  for (const auto& shape : shapes()) {
    if (shape.name != "ManyBlocks") {  // those above do, too
      cases.push_back({{shape, "portable", torch::kFloat64, 1e-12}, kCap});
    }
  }
  return cases;
}

/// Every test of this suite runs with its case's kernel.
class ScoreRules : public testing::TestWithParam<RuleCase> {
 protected:
  void SetUp() override { use_kernel(GetParam().kernel); }
  void TearDown() override { use_kernel(kernels().front()); }

  /// Scores spread over two nats: the cap bends them, and the largest of many still differ.
  double scale() const { return 0.5 / std::sqrt(static_cast<double>(GetParam().shape.features)); }
  RowOptions options() const { return {.rule = {.scale = scale(), .cap = GetParam().cap}}; }

  void expect_twin(const std::optional<Tensor>& log_weight, const RowOptions& options) const {
    const auto& shape = GetParam().shape;
    const auto in = inputs(shape, GetParam().dtype);
    const auto row = attend(in.query, in.key_list, in.value_list, shape.sets, log_weight, options);
    const auto twin =
        reference::attend(in.query, in.keys, in.values, shape.sets, log_weight, options);
    const auto tolerance = GetParam().tolerance;
    EXPECT_LT(max_error(row.out, twin.out), tolerance);
    EXPECT_LT(max_error(row.lse, twin.lse), tolerance);
    EXPECT_LT(max_error(row.entropy, twin.entropy), tolerance);
    EXPECT_LT(max_error(row.set_lse, twin.set_lse), tolerance);
    EXPECT_LT(max_error(row.set_entropy, twin.set_entropy), tolerance);
    if (options.budget.wanted()) {
      EXPECT_LT(max_error(row.top_mass, twin.top_mass), tolerance);
      EXPECT_LT(max_error(row.top_threshold, twin.top_threshold), tolerance);
    }
  }
};

INSTANTIATE_TEST_SUITE_P(Cases, ScoreRules, testing::ValuesIn(rule_cases()),
                         testing::PrintToStringParamName());

TEST_P(ScoreRules, GiveTheTwinsRows) {
  expect_twin({}, options());
  expect_twin(log_weights(GetParam().shape).to(GetParam().dtype), options());
}

TEST_P(ScoreRules, GiveTheTwinsRowsAboveAThreshold) {
  const auto& shape = GetParam().shape;
  auto wanted = options();
  wanted.threshold = torch::full({shape.batch, shape.heads, shape.sets.rows()}, 0.4,
                                 torch::dtype(GetParam().dtype));
  expect_twin({}, wanted);
  expect_twin(log_weights(shape).to(GetParam().dtype), wanted);
}

TEST_P(ScoreRules, GiveTheTwinsLargestKeys) {
  const auto log_weight = log_weights(GetParam().shape).to(GetParam().dtype);
  for (const auto& budget :
       std::vector<KeyBudget>{{.keys = 2}, {.share = 0.4}, {.keys = 1, .counts_first = false}}) {
    auto wanted = options();
    wanted.budget = budget;
    expect_twin({}, wanted);
    expect_twin(log_weight, wanted);
  }
}

TEST_P(ScoreRules, GiveTheTwinsGradients) {
  const auto& c = GetParam();
  const auto in = inputs(c.shape, c.dtype, true);
  auto log_weight = log_weights(c.shape).to(c.dtype).set_requires_grad(true);
  auto wanted = options();
  wanted.budget = {.keys = 2};
  const auto compare = [&](const std::optional<Tensor>& log_weight) {
    std::vector<Tensor> of{in.query, in.keys, in.values};
    if (log_weight) {
      of.push_back(*log_weight);
    }
    const auto found = torch::autograd::grad(
        {loss(attend(in.query, in.key_list, in.value_list, c.shape.sets, log_weight, wanted))}, of);
    const auto expected = torch::autograd::grad(
        {loss(reference::attend(in.query, in.keys, in.values, c.shape.sets, log_weight, wanted))},
        of, {}, {}, false, true);
    for (std::size_t i = 0; i < of.size(); ++i) {
      EXPECT_TRUE(found[i].isfinite().all().item<bool>()) << "input " << i;
      const auto twin = expected[i].defined() ? expected[i] : torch::zeros_like(of[i]);
      EXPECT_LT(max_error(found[i], twin), gradient_tolerance(c, twin)) << "input " << i;
    }
  };
  compare({});
  compare(log_weight);
}

TEST_P(ScoreRules, GiveEachSetsLargestScores) {
  const auto& c = GetParam();
  const auto in = inputs(c.shape, c.dtype);
  const auto scores = score(in.query, in.key_list, c.shape.sets, 3, options());
  const auto group = c.shape.heads / c.shape.kv_heads;
  for (int64_t row = 0; row < c.shape.sets.rows(); ++row) {
    const auto seen = reference::visible(c.shape.sets, row);
    for (int64_t set = 0; set < c.shape.sets.sets(); ++set) {
      std::vector<int64_t> keys;
      for (std::size_t j = 0; j < seen.keys.size(); ++j) {
        if (seen.sets[j] == set) keys.push_back(seen.keys[j]);
      }
      const auto found = std::min<int64_t>(3, keys.size());
      auto all = in.query.select(2, row)[0][group - 1].matmul(
                     in.keys[0][0].index_select(0, torch::tensor(keys, torch::kInt64)).t()) *
                 scale();
      if (c.cap) all = *c.cap * torch::tanh(all / *c.cap);
      all = all * c.shape.sets.factor(set);
      const auto top = scores.top[0][group - 1][row][set];
      EXPECT_LT(max_error(top.slice(0, 0, found), std::get<0>(all.topk(found))), c.tolerance);
      EXPECT_TRUE(
          (top.slice(0, found) == -std::numeric_limits<double>::infinity()).all().item<bool>());
    }
  }
}

TEST_P(ScoreRules, GiveTheProbabilitiesThatMakeTheRow) {
  const auto& c = GetParam();
  const auto in = inputs(c.shape, c.dtype);
  const auto row = attend(in.query, in.key_list, in.value_list, c.shape.sets, {}, options());
  const std::vector<int64_t> rows{0, c.shape.sets.rows() - 1};
  const auto p = probabilities(in.query, in.key_list, c.shape.sets, {}, row.lse, rows, options());
  const auto values =
      in.values.repeat_interleave(c.shape.heads / c.shape.kv_heads, 1).to(p.scalar_type());
  const auto expected = row.out.index_select(2, torch::tensor(rows));
  EXPECT_LT(max_error(p.matmul(values), expected), 10 * c.tolerance);
}

TEST_P(ScoreRules, CountPairsAndKeysOfRows) {
  const auto& sets = GetParam().shape.sets;
  int64_t pairs = 0;
  const auto kept = keys_of_rows({.share = 1e-3}, sets);  // one key, of rows that see more
  for (int64_t row = 0; row < sets.rows(); ++row) {
    const auto seen = static_cast<int64_t>(reference::visible(sets, row).keys.size());
    pairs += seen;
    EXPECT_EQ(kept[row].item<int64_t>(), seen > 1 ? (seen + 999) / 1000 : 0) << "row " << row;
  }
  EXPECT_EQ(sets.pairs(), pairs);
}

TEST_P(ScoreRules, KeepStatisticsOfLowPrecisionInSingle) {
  const auto& c = GetParam();
  const auto in = inputs(c.shape, torch::kBFloat16);
  const auto row = attend(in.query, in.key_list, in.value_list, c.shape.sets, {}, options());
  const auto twin = reference::attend(in.query, in.keys, in.values, c.shape.sets, {}, options());
  EXPECT_EQ(row.out.scalar_type(), torch::kBFloat16);
  EXPECT_LT(max_error(row.lse, twin.lse), 5e-5);  // as in rows_test.cpp
  EXPECT_LT(max_error(row.entropy, twin.entropy), 5e-5);
  EXPECT_LT(max_error(row.out, twin.out), 0.02);
}

using RuleByKernel = ByKernel;

INSTANTIATE_TEST_SUITE_P(Kernels, RuleByKernel, testing::ValuesIn(tested_kernels()),
                         name_of_kernel);

TEST_P(RuleByKernel, NeitherReadsHiddenKeysNorTheirValues) {
  // Rows are cut into blocks of 128: those from 128 on see keys from 109 on, those from 256 on
  // from 237 on.
  const KeySets sets(
      1, 300, 300,
      {{.rows = 300, .keys = 300, .causal = true, .first_visible = behind_a_window(300, 300, 20)}});
  const Shape shape{"", 1, 2, 1, 8, sets, {300}, 1};
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const auto run = [&](int64_t poisoned) {
      auto in = inputs(shape, dtype);
      in.keys.slice(2, 0, poisoned).fill_(std::nan(""));
      in.values.slice(2, 0, poisoned).fill_(std::nan(""));
      for (auto* x : {&in.query, &in.keys, &in.values}) {
        x->requires_grad_();
      }
      const auto row = attend(in.query, in.keys, in.values, sets);
      const auto some = row.out.slice(2, poisoned > 200 ? 256 : 128);
      const auto gradients = torch::autograd::grad({some.sum()}, {in.query, in.keys, in.values});
      return std::vector<Tensor>{row.out, row.entropy, gradients[0], gradients[1], gradients[2]};
    };
    const auto clean = run(0);
    for (const int64_t poisoned : {109, 237}) {
      const auto from = poisoned > 200 ? 256 : 128;
      const auto found = run(poisoned);
      for (const std::size_t i : {0, 1}) {
        EXPECT_TRUE(torch::equal(found[i].slice(2, from), clean[i].slice(2, from))) << poisoned;
        EXPECT_TRUE(found[i].slice(2, 0, 100).isnan().all().item<bool>()) << poisoned;
      }
    }
  }
}

TEST_P(RuleByKernel, DoesNotReadWhatNoRowSees) {
  const KeySets sets(2, 6, 40,
                     {{.set = 0, .rows = 6, .keys = 20, .first_visible = {7, 7, 9, 9, 9, 20}},
                      {.set = 1,
                       .rows = 6,
                       .first_key = 20,
                       .keys = 20,
                       .causal = true,
                       .first_visible = {5, 5, 5, 6, 6, 8}}});
  const Shape shape{"", 1, 4, 2, 8, sets, {20, 20}, 1};
  for (const auto dtype : {torch::kFloat32, torch::kFloat64, torch::kBFloat16}) {
    const auto run = [&](bool poisoned) {
      auto in = inputs(shape, dtype);
      for (const auto& [first, last] : std::vector<std::pair<int64_t, int64_t>>{{0, 7}, {20, 25}}) {
        const auto x = poisoned ? std::nan("") : 1.0;
        in.keys.slice(2, first, last).fill_(x);
        in.values.slice(2, first, last).fill_(x);
      }
      for (auto* x : {&in.query, &in.keys, &in.values}) {
        x->requires_grad_();
      }
      const auto row = attend(in.query, in.keys, in.values, sets, {},
                              {.rule = {.cap = 2.0}, .top = 3, .budget = {.keys = 2}});
      auto all = torch::autograd::grad({loss(row)}, {in.query, in.keys, in.values});
      all.insert(all.end(), {row.out, row.lse, row.entropy, row.set_top, row.top_mass});
      return all;
    };
    const auto clean = run(false), found = run(true);
    for (std::size_t i = 0; i < clean.size(); ++i) {
      EXPECT_TRUE(torch::equal(found[i], clean[i])) << i << ", " << dtype;
    }
  }
}

/// A kernel that lacks a cap, or hidden first keys, leaves them to the portable one.
TEST_P(RuleByKernel, IsThePortableKernelsWork) {
  const Shape shape{"", 1, 6, 2, 32, causal_keys(40, 300), {300}, 1};
  const KeySets window(
      1, 40, 300,
      {{.rows = 40, .keys = 300, .causal = true, .first_visible = behind_a_window(40, 300, 90)}});
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const auto in = inputs(shape, dtype);
    for (const auto& [sets, rule] : std::vector<std::pair<KeySets, ScoreRule>>{
             {shape.sets, {.cap = 3.0}}, {window, {}}, {window, {.cap = 3.0}}}) {
      const auto run = [&, &sets = sets, &rule = rule](std::string_view kernel) {
        use_kernel(kernel);
        return attend(in.query, in.keys, in.values, sets, {}, {.rule = rule});
      };
      const auto found = run(GetParam()), portable = run("portable");
      EXPECT_TRUE(torch::equal(found.out, portable.out));
      EXPECT_TRUE(torch::equal(found.entropy, portable.entropy));
    }
  }
}

/// A threshold is one on effective scores, log weights included.
TEST(Probabilities, AddUpToOneAboveAThreshold) {
  const Shape shape{"", 1, 4, 2, 8, {5, 6, 26, reading_spans()}, {26}, 1};
  const auto in = inputs(shape, torch::kFloat64);
  const auto log_weight = log_weights(shape);
  const RowOptions options{.threshold = torch::full({1, 4, 6}, 0.3, torch::kFloat64)};
  const auto lse = attend(in.query, in.keys, in.values, shape.sets, log_weight, options).lse;
  const auto p =
      probabilities(in.query, in.keys, shape.sets, log_weight, lse, {0, 1, 2, 3, 4, 5}, options);
  const auto seen = (lse != -std::numeric_limits<double>::infinity()).to(torch::kFloat64);
  EXPECT_GT(seen.sum().item<double>(), 0);
  EXPECT_LT(max_error(p.sum(3), seen), 1e-12);  // float64: only the order of sums differs
}

TEST(Probabilities, TakeKeysOfAllQueriesBesideThoseOfEach) {
  const Shape shape{"", 3, 4, 2, 8, {5, 6, 26, reading_spans()}, {26}, 3};
  auto in = inputs(shape, torch::kFloat64);
  const auto prefix = in.keys.slice(0, 0, 1).slice(2, 0, 3).clone();
  in.keys.slice(2, 0, 3).copy_(prefix);
  const std::vector<Tensor> keys{prefix, in.keys.slice(2, 3)};
  const auto lse = attend(in.query, in.keys, in.values, shape.sets).lse;
  const auto p = probabilities(in.query, keys, shape.sets, {}, lse, {0, 5});
  EXPECT_LT(max_error(p, probabilities(in.query, in.keys, shape.sets, {}, lse, {0, 5})), 1e-12);
  EXPECT_LT(max_error(p.sum(3), torch::ones({3, 4, 2}, torch::kFloat64)), 1e-12);
}

TEST(ScoreRule, ComesBeforeAFactor) {
  const auto products = torch::tensor({-100.0, -1.0, 0.0, 2.0, 1e30}, torch::kFloat64);
  EXPECT_LT(max_error(ScoreRule{.scale = 0.5}.scores(products, 64), products * 0.5), 1e-300);
  EXPECT_LT(max_error(ScoreRule{}.scores(products, 64), products / 8), 1e15);  // of 1e29
  const auto capped = ScoreRule{.scale = 0.5, .cap = 4.0}.scores(products, 64);
  EXPECT_LT(max_error(capped, 4 * torch::tanh(products / 8)), 1e-15);
  EXPECT_EQ(capped[4].item<double>(), 4);
}

TEST(ScoreRule, ErrorsSayWhatIsWrong) {
  const auto q = torch::zeros({1, 4, 3, 8}), k = torch::zeros({1, 2, 5, 8});
  const auto sets = all_keys(3, 5);
  const auto with = [&](const ScoreRule& rule) {
    return message([&] { attend(q, k, k, sets, {}, {.rule = rule}); });
  };
  constexpr auto kInfinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(with({.cap = 0.0}), "motet::attend: a soft cap of 0; it is finite and above 0");
  EXPECT_EQ(with({.cap = -30.0}), "motet::attend: a soft cap of -30; it is finite and above 0");
  EXPECT_EQ(with({.cap = kInfinity}), "motet::attend: a soft cap of inf; it is finite and above 0");
  EXPECT_EQ(with({.scale = -kInfinity}), "motet::attend: a scale of -inf; it is finite");
  EXPECT_EQ(message([&] { score(q, k, sets, 0, {.rule = {.cap = 0.0}}); }),
            "motet::score: a soft cap of 0; it is finite and above 0");
  const auto sets_with = [](std::vector<int64_t> first) {
    return message([&] {
      KeySets(1, 3, 5, {{.rows = 3, .keys = 5, .causal = true, .first_visible = first}});
    });
  };
  const std::string span =
      "motet::KeySets: the span (set 0, rows 0+3, keys 0+5, causal, the first hidden) has first "
      "visible keys of ";
  const std::string wanted = " rows; there is one a row, within the span and never falling";
  EXPECT_EQ(sets_with({0, 1}), span + "2" + wanted);
  EXPECT_EQ(sets_with({0, 2, 1}), span + "3" + wanted);
  EXPECT_EQ(sets_with({-1, 2, 2}), span + "3" + wanted);
  EXPECT_EQ(sets_with({0, 2, 6}), span + "3" + wanted);
}

}  // namespace
}  // namespace motet
