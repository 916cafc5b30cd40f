// Readings of neighbouring papers, against the definition in float64: a set without keys, factors
// on rows, and choices from summaries of keys.

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels.h"
#include "motet/attention/budget.h"
#include "motet/attention/key_bounds.h"
#include "motet/attention/probabilities.h"
#include "motet/context/layout.h"
#include "motet/reading/guess.h"
#include "motet/reading/learned.h"
#include "motet/reading/null_set.h"
#include "motet/reading/read_rows.h"
#include "motet/reading/registry.h"
#include "motet/reading/scale.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const auto kF64 = torch::TensorOptions().dtype(torch::kFloat64);
constexpr double kRounding = 5e-5;  // fp32, as in rows_test.cpp

/// A prefix of 5 keys, pieces of unequal lengths, and 9 rows of which 4 keys are earlier.
struct Case {
  KeySets sets = read_sets(5, {40, 3, 75}, {9}, {4});
  Tensor query, keys, values;

  explicit Case(torch::ScalarType dtype = torch::kFloat32) {
    torch::manual_seed(13);
    query = (torch::randn({1, 6, 9, 16}) * 2).to(dtype);
    keys = (torch::randn({1, 2, sets.keys(), 16}) * 2).to(dtype);
    values = torch::randn({1, 2, sets.keys(), 16}).to(dtype);
  }
  ReadRows read(const Reading& reading, const RowOptions& options = {}) const {
    return read_rows(reading, query, keys, values, sets, {0, 9}, options);
  }
  Row twin(const std::optional<Tensor>& log_weight = {}, const RowOptions& options = {}) const {
    return reference::attend(query, keys, values, sets, log_weight, options);
  }
};

/// Rows that see one key more, of score b and value 0, which is a set of its own.
Row with_extra_key(const Row& row, double b) {
  const auto whole = torch::logaddexp(row.lse, torch::full_like(row.lse, b));
  const auto kept = (row.lse - whole).exp(), null = (b - whole).exp();
  Row more;
  more.out = row.out * kept.unsqueeze(3);
  more.lse = whole;
  // -sum p ln p over all keys and the null one.
  more.entropy = kept * (row.entropy - kept.log()) - null * null.log();
  return more;
}

class NeighboursByKernel : public ByKernel {};

INSTANTIATE_TEST_SUITE_P(Kernels, NeighboursByKernel, testing::ValuesIn(tested_kernels()),
                         name_of_kernel);

TEST_P(NeighboursByKernel, ANullSetTakesMassAndBringsNothing) {
  const Case in;
  const auto plain = in.twin();
  for (const auto b : {0.0, 3.5, -2.0}) {
    const auto row = in.read(NullSet(b)).row;
    const auto twin = with_extra_key(plain, b);
    EXPECT_LT(max_error(row.out, twin.out), kRounding) << b;
    EXPECT_LT(max_error(row.lse, twin.lse), kRounding) << b;
    EXPECT_LT(max_error(row.entropy, twin.entropy), kRounding) << b;
    const auto meaning = PieceSets(3).with_null();
    ASSERT_EQ(row.set_lse.size(3), meaning.count());
    EXPECT_LT(max_error(meaning.null_in(row.set_lse), torch::full_like(row.lse, b)), 1e-6);
    EXPECT_EQ(meaning.null_in(row.set_entropy).abs().max().item<double>(), 0);
    const auto parts = row.parts();
    EXPECT_LT(max_error(parts.mass.sum(3), torch::ones_like(row.lse)), kRounding);
    EXPECT_LT(max_error(parts.between + parts.within, row.entropy), kRounding) << b;
  }
  // Far below every score it is nothing, far above it is all.
  EXPECT_LT(max_error(in.read(NullSet(-500)).row.out, plain.out), kRounding);
  EXPECT_LT(in.read(NullSet(500)).row.out.abs().max().item<double>(), 1e-6);
}

TEST(NullSet, IsWeighedInARowWithoutEntropyAndWithoutKeys) {
  const Case in;
  const auto row = in.read(NullSet(1), {.entropy = false, .budget = {.keys = 4}}).row;
  EXPECT_FALSE(row.entropy.defined());
  const auto whole = in.twin({}, {.budget = {.keys = 4}});
  const auto kept = (whole.lse - row.lse).exp();
  EXPECT_LT(max_error(row.top_mass, whole.top_mass * kept), kRounding);
  // No key is seen: the null set has everything, and nothing is NaN.
  const KeySets none(2, 1, 0, {});
  const auto empty = torch::zeros({1, 1, 0, 4});
  const auto alone = read_rows(NullSet(2), torch::ones({1, 1, 1, 4}), empty, empty, none, {0, 1});
  EXPECT_EQ(alone.row.out.abs().max().item<double>(), 0);
  EXPECT_NEAR(alone.row.lse.item<double>(), 2, 1e-6);
  EXPECT_EQ(alone.row.entropy.item<double>(), 0);
}

/// What all sets have together is that of the null set, too.
TEST(NullSet, IsAmongTheSetsThatAReadingIsShown) {
  struct Watching : NullSet {
    using NullSet::NullSet;
    std::optional<Tensor> decide(const PieceScores& scores) const override {
      seen = scores;
      return NullSet::decide(scores);
    }
    mutable PieceScores seen;
  };
  const Case in(torch::kFloat64);
  const Watching reading(1);
  in.read(reading);
  EXPECT_EQ(reading.seen.lse.size(3), PieceSets(3).with_null().count());
  EXPECT_LT(max_error(reading.seen.row_lse, reading.seen.lse.logsumexp(3)), 1e-12);
}

/// gpt-oss' sinks: one more column of the softmax, of a number that each head learns.
TEST(NullSet, OfALearnedReadingIsANumberOfEachHeadWithAGradient) {
  const Case in(torch::kFloat64);
  torch::manual_seed(2);
  const auto null = (torch::randn({1, 6}, kF64) + 1).requires_grad_();
  const Learned learned({torch::ones({1, 1}, kF64), torch::zeros({1, 1}, kF64), {}, null});
  const auto row = in.read(learned).row;
  const auto group = torch::arange(6) / 3;
  const auto k = in.keys[0].index_select(0, group.to(torch::kInt64)),
             v = in.values[0].index_select(0, group.to(torch::kInt64));
  auto s = torch::matmul(in.query[0], k.transpose(1, 2)) / 4.0;  // [heads, rows, keys]
  const auto key = torch::arange(in.sets.keys());
  const auto last = torch::arange(9).unsqueeze(1) + (in.sets.keys() - 9);
  s = s.masked_fill(key.unsqueeze(0) > last, -kInfinity);
  const auto sinks = null.view({6, 1, 1}).expand({6, 9, 1});
  const auto p = torch::cat({s, sinks}, 2).softmax(2).slice(2, 0, -1);
  const auto expected = torch::matmul(p, v);
  EXPECT_LT(max_error(row.out[0], expected), 1e-12);
  const auto on_out = torch::randn_like(expected);
  const auto found = torch::autograd::grad({row.out[0]}, {null}, {on_out});
  const auto wanted = torch::autograd::grad({expected}, {null}, {on_out});
  EXPECT_GT(wanted[0].abs().max().item<double>(), 1e-3);
  EXPECT_LT(max_error(found[0], wanted[0]), 1e-10);
}

/// The factor of each row, from its keys or its entropy, by hand.
double expected_factor(const std::string& law, double n, double m, double entropy) {
  if (law == "scale:ssmax") return std::log(n) / std::log(m);
  if (law == "scale:ssmax:0.4") return 0.4 * std::log(n);
  if (law == "scale:infoscale") {
    return std::sqrt((1 - std::pow(n, -2.0 / 16)) / (1 - std::pow(m, -2.0 / 16)));
  }
  if (law == "scale:infoscale:50") {
    return std::sqrt((1 - std::pow(n, -2.0 / 16)) / (1 - std::pow(50, -2.0 / 16)));
  }
  const auto h = entropy;
  const auto value = -0.037 * h * h * h * h + 0.481 * h * h * h - 2.3 * h * h + 4.917 * h - 1.791;
  return h > 0.5 ? std::max(1.0, value) : 1.0;
}

TEST_P(NeighboursByKernel, ScoresAreMultipliedAsALawHasIt) {
  const Case in;
  const auto plain = in.twin();
  for (const std::string law : {"scale:ssmax", "scale:ssmax:0.4", "scale:infoscale",
                                "scale:infoscale:50", "scale:entropy"}) {
    auto factor = torch::zeros({1, 6, 9}, kF64);
    for (int64_t head = 0; head < 6; ++head) {
      for (int64_t row = 0; row < 9; ++row) {
        const double own = 4 + row + 1;
        factor[0][head][row] = expected_factor(law, 5 + 40 + 3 + 75 + own, 5 + 75 + own,
                                               plain.entropy[0][head][row].item<double>());
      }
    }
    EXPECT_GT(factor.max().item<double>(), 1) << law;
    const auto found = in.read(*reading_named(law));
    EXPECT_LT(max_error(found.factor->expand({1, 6, 9}), factor), 1e-5) << law;
    const auto twin = in.twin({}, {.factor = factor});
    EXPECT_LT(max_error(found.row.out, twin.out), kRounding) << law;
    EXPECT_LT(max_error(found.row.lse, twin.lse), kRounding) << law;
    EXPECT_LT(max_error(found.row.entropy, twin.entropy), kRounding) << law;
  }
}

/// It comes after a soft cap, in both directions, and in the probabilities that pictures show.
TEST(RowFactor, MultipliesWhatACapHasBounded) {
  const Case in(torch::kFloat64);
  const auto factor = torch::rand({1, 6, 9}, kF64) + 0.5;
  for (const bool capped : {false, true}) {
    RowOptions options{.factor = factor};
    if (capped) options.rule.cap = 1.5;
    const auto query = in.query.detach().requires_grad_();
    const auto keys = in.keys.detach().requires_grad_();
    const auto row = attend(query, {keys}, {in.values}, in.sets, {}, options);
    const auto twin = reference::attend(query, keys, in.values, in.sets, {}, options);
    EXPECT_LT(max_error(row.out, twin.out), 1e-12) << capped;
    EXPECT_LT(max_error(row.entropy, twin.entropy), 1e-12) << capped;
    const auto on_out = torch::randn_like(twin.out);
    const auto found = torch::autograd::grad({row.out}, {query, keys}, {on_out}, true);
    const auto wanted = torch::autograd::grad({twin.out}, {query, keys}, {on_out}, true);
    EXPECT_LT(max_error(found[0], wanted[0]), 1e-11) << capped;
    EXPECT_LT(max_error(found[1], wanted[1]), 1e-11) << capped;
    const at::NoGradGuard no_grad;
    const auto p = probabilities(query, {keys}, in.sets, {}, row.lse, {0, 8}, options);
    EXPECT_LT(max_error(p.sum(3), torch::ones({1, 6, 2}, kF64)), 1e-12) << capped;
    const auto entropy = -torch::xlogy(p, p).sum(3);
    EXPECT_LT(max_error(entropy.select(2, 1), row.entropy.select(2, 8)), 1e-12) << capped;
  }
  EXPECT_EQ(
      message([&] {
        attend(in.query, {in.keys}, {in.values}, in.sets, {}, {.factor = torch::zeros({1, 1, 9})});
      }),
      "motet::attend: a row's factor on its scores is not a number above 0");
  EXPECT_EQ(
      message([&] {
        attend(in.query, {in.keys}, {in.values}, in.sets, {}, {.factor = torch::ones({2, 1, 9})});
      }),
      "motet::attend: factors of [2, 1, 9]; they are broadcast to [batch, heads, query] = "
      "[1, 6, 9]");
}

TEST(Scale, IsOrdinaryReadingInOnePiece) {
  torch::manual_seed(3);
  const auto sets = read_sets(2, {50}, {4}, {0});
  const auto query = torch::randn({1, 2, 4, 8}), keys = torch::randn({1, 2, 56, 8});
  const auto plain = attend(query, {keys}, {keys}, sets);
  for (const auto* law : {"scale:ssmax", "scale:infoscale"}) {
    const auto row = read_rows(*reading_named(law), query, keys, keys, sets, {0, 4}).row;
    EXPECT_LT(max_error(row.out, plain.out), 1e-6) << law;
  }
}

TEST(Scale, SaysWhatIsWrong) {
  EXPECT_EQ(message([] { Scale(ScaleLaw::kEntropy, 2); }),
            "motet::Scale: the law of entropy takes no number");
  EXPECT_EQ(message([] { Scale(ScaleLaw::kInfoScale, 1); }),
            "motet::Scale: m = 1; a number of keys above 1 is wanted");
  EXPECT_EQ(message([] { Scale(ScaleLaw::kSsmax, -1); }),
            "motet::Scale: S = -1; it is within 1e-06 and 1e+06");
  EXPECT_EQ(reading_named("scale:ssmax:0.43")->name(), "scale(ssmax, S=0.43)");
  EXPECT_EQ(reading_named("scale:entropy")->name(), "scale(entropy)");
  EXPECT_NE(message([] { reading_named("scale:square"); }).find("'square' is no law of these"),
            std::string::npos);
}

/// What each summary promises of a piece, from the definition; -inf for the prefix and own keys.
Tensor promised(const Case& in, KeySummary summary) {
  const std::vector<int64_t> first{5, 45, 48}, last{45, 48, 123};
  auto all = torch::zeros({1, 6, 9, 3}, kF64);
  for (int64_t piece = 0; piece < 3; ++piece) {
    for (int64_t head = 0; head < 6; ++head) {
      const auto k = in.keys[0][head / 3].slice(0, first[piece], last[piece]).to(torch::kFloat64);
      const auto mean = k.mean(0);
      const auto n = static_cast<double>(k.size(0));
      for (int64_t row = 0; row < 9; ++row) {
        const auto q = in.query[0][head][row].to(torch::kFloat64) / 4;
        const auto s = (k - mean).matmul(q);
        double value = std::log(n) + mean.dot(q).item<double>();
        if (summary == KeySummary::kFull) value += s.square().mean().item<double>() / 2;
        if (summary == KeySummary::kDiagonal) {
          value += (((k - mean) * q).square().mean(0).sum() / 2).item<double>();
        }
        if (summary == KeySummary::kBox) {
          value = torch::maximum(std::get<0>(k.min(0)) * q, std::get<0>(k.max(0)) * q)
                      .sum()
                      .item<double>();
          EXPECT_GE(value, k.matmul(q).max().item<double>());  // it is a bound
        }
        all[0][head][row][piece] = value;
      }
    }
  }
  return all;
}

TEST(Guess, KeepsWhatASummaryPromisesMostOf) {
  const Case in;
  for (const auto& [name, summary] : {std::pair{"mean", KeySummary::kMean},
                                      {"diagonal", KeySummary::kDiagonal},
                                      {"full", KeySummary::kFull},
                                      {"box", KeySummary::kBox}}) {
    for (const int64_t kept : {1, 2, 3}) {
      const auto reading = reading_named("guess:" + std::to_string(kept) + ":" + name);
      const auto found = in.read(*reading);
      const auto order = promised(in, summary).argsort(3, /*descending=*/true);
      const auto wanted =
          torch::zeros({1, 6, 9, 3}, torch::kBool).scatter_(3, order.slice(3, 0, kept), true);
      EXPECT_TRUE(torch::equal(found.bulk->read(), wanted)) << name << kept;
      auto log_weight = torch::zeros({1, 6, 9, 5}, kF64);
      log_weight.slice(3, 1, 4).masked_fill_(wanted.logical_not(), -kInfinity);
      const auto twin = in.twin(log_weight);
      EXPECT_LT(max_error(found.row.out, twin.out), kRounding) << name << kept;
      EXPECT_LT(max_error(found.row.entropy, twin.entropy), kRounding) << name << kept;
      EXPECT_LT(max_error(found.row.set_lse, twin.set_lse), kRounding) << name << kept;
    }
  }
  const auto last = in.read(*reading_named("guess:2:last")).bulk->read();
  EXPECT_TRUE(torch::equal(last, torch::tensor({0, 1, 1}).to(torch::kBool).expand({1, 6, 9, 3})));
  const auto random = in.read(*reading_named("guess:2:random")).bulk->read();
  EXPECT_TRUE((random.sum(3) == 2).all().item<bool>());
  EXPECT_FALSE(torch::equal(random, random.select(2, 0).unsqueeze(2).expand_as(random)));
  EXPECT_TRUE(torch::equal(random, in.read(Guess(2, KeySummary::kRandom)).bulk->read()));
  EXPECT_EQ(reading_named("guess")->name(), "guess(K=2, full)");
  EXPECT_EQ(Guess(2, KeySummary::kBox).needs().kept, 2);
  EXPECT_EQ(message([&] { in.read(Guess(4)); }),
            "motet::Guess: K = 4 of 3 pieces cannot be kept; choose a smaller K or more pieces");
  EXPECT_EQ(message([] { Guess(0); }), "motet::Guess: K = 0; at least one piece is kept");
}

/// Pieces at random are those of the row, however rows come: in one call, in two, or one by one.
TEST(Guess, AtRandomIsAnewInEachRowAndTheSameInParts) {
  const Case in;
  const Guess reading(1, KeySummary::kRandom);
  const auto chosen = [&](const Tensor& query, int64_t first, int64_t last, int64_t layer) {
    const auto keys = 5 + 118 + 4 + last;
    return read_rows(reading, query.slice(2, first, last), in.keys.slice(2, 0, keys),
                     in.values.slice(2, 0, keys),
                     read_sets(5, {40, 3, 75}, {last - first}, {4 + first}), {0, last - first}, {},
                     layer)
        .bulk->read();
  };
  const auto whole = chosen(in.query, 0, 9, 0);  // [1, heads, rows, pieces]
  std::vector<Tensor> one_by_one;
  for (int64_t row = 0; row < 9; ++row) {
    one_by_one.push_back(chosen(in.query, row, row + 1, 0));
  }
  EXPECT_TRUE(torch::equal(torch::cat(one_by_one, 2), whole));
  const auto halves = torch::cat({chosen(in.query, 0, 4, 0), chosen(in.query, 4, 9, 0)}, 2);
  EXPECT_TRUE(torch::equal(halves, whole));
  for (int64_t head = 0; head < 6; ++head) {  // nine rows do not all draw one of three pieces
    EXPECT_GT(whole[0][head].any(0).sum().item<int64_t>(), 1) << head;
  }
  // Another layer, another text, and heads that see the same.
  EXPECT_FALSE(torch::equal(chosen(in.query, 0, 9, 1), whole));
  EXPECT_FALSE(torch::equal(chosen(in.query.flip({2}), 0, 9, 0), whole));
  const auto alike = chosen(torch::zeros_like(in.query), 8, 9, 0);  // every lse is that of zeros
  EXPECT_FALSE(torch::equal(alike, alike.narrow(1, 0, 1).expand_as(alike)));
}

/// Every piece is as likely as another, and what one row draws says nothing of the next.
TEST(Guess, AtRandomIsEven) {
  torch::manual_seed(3);
  constexpr int64_t kRows = 500, kHeads = 6;
  const auto query = torch::randn({1, kHeads, kRows, 16}),
             keys = torch::randn({1, 2, kRows + 8, 16});
  const auto sets = read_sets(0, {2, 2, 2, 2}, {kRows}, {0});
  const auto read = read_rows(Guess(1, KeySummary::kRandom), query, keys, keys, sets, {0, kRows})
                        .bulk->read()
                        .to(torch::kFloat64);
  // Of 3,000 draws a quarter falls on each piece, and a quarter of pairs is alike: five standard
  // deviations of 0.008.
  EXPECT_LT((read.mean({0, 1, 2}) - 0.25).abs().max().item<double>(), 0.04);
  const auto alike = (read.slice(2, 1) * read.slice(2, 0, kRows - 1)).sum(3).mean();
  EXPECT_LT(std::abs(alike.item<double>() - 0.25), 0.04);
}

TEST(KeyBounds, AreThoseOfTheUnion) {
  torch::manual_seed(1);
  const auto keys = torch::randn({1, 2, 30, 4});
  auto joined = bounds_of(keys.slice(2, 0, 7));
  joined += bounds_of(keys.slice(2, 7, 7));  // no keys
  joined += bounds_of(keys.slice(2, 7));
  EXPECT_TRUE(torch::equal(joined.low, keys.amin(2)));
  EXPECT_TRUE(torch::equal(joined.high, keys.amax(2)));
  const BoundedKeys none({}, 1, torch::kFloat32);
  EXPECT_EQ(none.log_mass(torch::ones({1, 2, 3, 4})).max().item<double>(), -kInfinity);
  // A negative scale turns the box around.
  const auto query = torch::randn({1, 4, 3, 4});
  const BoundedKeys negative(joined, -0.5, torch::kFloat64);
  const auto most = negative.log_mass(query);
  const auto scores =
      -0.5 * torch::matmul(query, keys.repeat_interleave(2, 1).transpose(2, 3)).amin(3);
  EXPECT_TRUE((most.to(torch::kFloat32) >= scores).all().item<bool>());
  const auto other = torch::randn({1, 1, 3, 4});
  EXPECT_EQ(message([&] { joined += bounds_of(other); }),
            "motet::KeyBounds +: bounds of keys [batch, kv_heads, features] = [1, 2, 4] and [1, 1, "
            "4]");
}

/// Needs that exclude each other are an error, not a surprise.
TEST(ReadingNeeds, AreCheckedAgainstEachOther) {
  struct Odd : Reading {
    explicit Odd(ReadingNeeds needs) : needs_(needs) {}
    std::string name() const override { return "odd"; }
    ReadingNeeds needs() const override { return needs_; }
    ReadingNeeds needs_;
  };
  const Case in;
  ReadingNeeds choice{.choice = RowChoice{.pieces = 1, .top = 1}, .null = true};
  EXPECT_EQ(message([&] { in.read(Odd(choice)); }),
            "motet::Reading: odd wants a null set beside a choice of its own; it is weighed by a "
            "reading with neither");
  ReadingNeeds budget{.budget = {.keys = 4}, .bulk = BulkNeeds()};
  EXPECT_EQ(message([&] { in.read(Odd(budget)); }),
            "motet::Reading: odd wants the threshold of a budget and decides about bulks; it does "
            "one or the other");
  ReadingNeeds bulk{.bulk = BulkNeeds(), .factor = RowFactor::kKeys};
  EXPECT_EQ(message([&] { in.read(Odd(bulk)); }),
            "motet::Reading: odd puts factors on rows and decides about bulks; it does one or the "
            "other");
}

}  // namespace
}  // namespace motet
