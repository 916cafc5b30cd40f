#include "motet/probe/near_keys.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "golden_models.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/probe/choice.h"
#include "motet/probe/mass.h"
#include "motet/probe/probabilities.h"
#include "motet/reading/guess.h"
#include "motet/reading/null_set.h"
#include "motet/reading/registry.h"
#include "motet/reading/select.h"
#include "motet/reading/weigh.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;

/// Probes that look at all keys of a query, on a small model in float64.
class LooksAtKeys : public testing::Test {
 protected:
  std::shared_ptr<Decoder> model_ = golden("llama_default", torch::kFloat64);
  EncodedContext context_ = encode(*model_, some_tokens(2 + 9 + 4 + 7), make_layout(2, {9, 4, 7}));
  Tokens query_ = some_tokens(6, 11);
};

/// The number of probabilities that are at least e^-gap of the largest, row by row.
TEST_F(LooksAtKeys, KeysWithinAGapAreCounted) {
  const std::vector<double> gaps{0, 0.5, 2, 100};
  for (const auto* name : {"all", "select:1", "temper:0.7:0.8", "topk:3", "scale:ssmax:0.8",
                           "guess:1:mean", "null:2"}) {
    NearKeysProbe near(gaps);
    ProbabilityProbe some({0, 5});
    read(*model_, context_, query_, *reading_named(name), {&near, &some});
    const auto counts = near.keys().rows();  // [layers, batch, heads, rows, gaps]
    for (const auto row : {0, 5}) {
      const auto p = some.row(row);  // [layers, batch, heads, keys]
      for (std::size_t i = 0; i < gaps.size(); ++i) {
        const auto least = p.amax(3, true) * std::exp(-gaps[i]) * (1 - 1e-12);
        const auto expected = (p >= least).logical_and(p > 0).sum(3);
        EXPECT_EQ(max_error(counts.select(3, row).select(3, static_cast<int64_t>(i)), expected), 0)
            << name << " " << gaps[i];
      }
    }
  }
  EXPECT_EQ(message([] { NearKeysProbe(std::vector<double>()); }),
            "motet::NearKeysProbe: no gaps are given");
  EXPECT_EQ(message([] { NearKeysProbe({-1.0}); }),
            "motet::NearKeysProbe: a gap of -1; a number of nats is wanted, 0 or more");
}

TEST_F(LooksAtKeys, AnExactChoiceRecallsItselfAndOthersLess) {
  ChoiceProbe exact, mean, every, none;
  MassProbe mass;
  read(*model_, context_, query_, Select({.pieces = 1}), {&exact});
  read(*model_, context_, query_, Guess(1, KeySummary::kMean), {&mean});
  read(*model_, context_, query_, Guess(3, KeySummary::kMean), {&every});
  read(*model_, context_, query_, All(), {&none, &mass});
  EXPECT_EQ(exact.recall().mean().item<double>(), 1);
  EXPECT_LT(mean.recall().mean().item<double>(), 1);
  EXPECT_GT(mean.recall().mean().item<double>(), 0);
  EXPECT_EQ(every.recall().mean().item<double>(), 1);
  EXPECT_NEAR(every.mass().mean().item<double>(), 1, 1e-6);
  EXPECT_TRUE(none.recall().empty());
  // In the first layer, whose rows no reading has changed: of the last piece alone it is 1 where
  // that is the exact choice, and 0 elsewhere.
  ChoiceProbe last;
  MassProbe chosen;
  read(*model_, context_, query_, Guess(1, KeySummary::kLast), {&last});
  read(*model_, context_, query_, Select({.pieces = 1}), {&chosen});
  const auto is_last = chosen.mass().rows()[0].select(3, 3) > 0;
  EXPECT_GT(is_last.sum().item<int64_t>(), 0);
  EXPECT_LT(is_last.sum().item<int64_t>(), is_last.numel());
  EXPECT_EQ(max_error(last.recall().rows()[0], is_last), 0);
  // What an exact choice of one keeps, of what pieces have in ordinary reading: in the first layer,
  // since the second sees other rows. With so few keys the five largest are not all of a piece.
  const auto pieces = mass.mass().rows()[0].slice(3, 1, 4);
  const auto share = pieces / pieces.sum(3, true);
  const auto kept = exact.mass().rows()[0].to(torch::kFloat64);
  EXPECT_LT((kept - share.amax(3)).max().item<double>(), 1e-6);
  EXPECT_GT((kept - share.amin(3)).min().item<double>(), -1e-6);
  EXPECT_GT(kept.mean().item<double>(), share.mean().item<double>());
}

/// A layer whose window hides every piece from some rows, or from all, chooses nothing for them.
TEST_F(LooksAtKeys, RowsThatSeeNoPieceChooseNone) {
  for (const auto* name : {"gemma2_default", "mistral_window"}) {
    const auto model = golden(name, torch::kFloat64);
    const auto context = encode(*model, some_tokens(2 + 9 + 4 + 7), make_layout(2, {9, 4, 7}));
    for (const int64_t rows : {6, 10, 26}) {
      ChoiceProbe all, one;
      const auto query = some_tokens(rows, 11);
      read(*model, context, query, Guess(3, KeySummary::kLast), {&all});
      read(*model, context, query, Select({.pieces = 1}), {&one});
      std::set<int64_t> seeing;  // rows of a layer, to the last piece's last key
      for (const auto window : model->config().windows) {
        seeing.insert(window == 0 ? rows : std::min(rows, window - 1));
      }
      if (seeing.size() == 1) {
        EXPECT_EQ(all.recall().rows().size(3), *seeing.begin()) << name << rows;
      } else {
        EXPECT_EQ(message([&] { all.recall().rows(); }),
                  "motet::RowStatistic: layers have different numbers of rows; their mean is all "
                  "that there is");
      }
      EXPECT_EQ(all.recall().mean().item<double>(), 1) << name << rows;
      EXPECT_NEAR(all.mass().mean().item<double>(), 1, 1e-6) << name << rows;
      EXPECT_EQ(one.recall().mean().item<double>(), 1) << name << rows;
    }
  }
}

/// The mass of the null set, and of all others beside it; a head that reads own keys alone has
/// none.
TEST_F(LooksAtKeys, TheNullSetHasAMassOfItsOwn) {
  MassProbe mass, plain, ablated;
  read(*model_, context_, query_, NullSet(1), {&mass});
  read(*model_, context_, query_, All(), {&plain});
  EXPECT_TRUE(plain.null().empty());
  const auto null = mass.null().rows();
  EXPECT_GT(null.min().item<double>(), 0);
  EXPECT_LT(max_error(mass.mass().rows().sum(4) + null, torch::ones_like(null)), 1e-12);
  EXPECT_EQ(mass.mass().rows().size(4), 5);
  const Ablation ablation{.kind = Ablate::kOwnOnly, .heads = {{0, 1}}};
  read(*model_, context_, query_, NullSet(1), {&ablated}, ablation);
  const auto head = ablated.null().rows()[0].select(1, 1);
  EXPECT_EQ(head.abs().max().item<double>(), 0);
  EXPECT_GT(ablated.null().rows()[0].select(1, 0).min().item<double>(), 0);
}

}  // namespace
}  // namespace motet
