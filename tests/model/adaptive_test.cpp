#include "motet/reading/adaptive.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/model/encode.h"
#include "motet/model/forward.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/probe/entropy.h"
#include "motet/probe/statistic.h"
#include "motet/reading/reading.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr Window kWindow{.first = 2, .last = 3};
const Tokens kQuery = some_tokens(7, 11);

/// float64 models of both families: only the order of sums differs between two ways to the same
/// figure.
class ReadAdaptive : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<Decoder> model_ = golden(GetParam(), torch::kFloat64);
  Layout full_ = make_layout(0, {24}), pieces_ = make_layout(2, {11, 4, 9});

  EncodedContext encoded(const Layout& layout, bool moments = true) const {
    return encode(*model_, some_tokens(layout.tokens()), layout, {}, {.moments = moments});
  }
};

INSTANTIATE_TEST_SUITE_P(Families, ReadAdaptive, testing::Values("llama_default", "gpt2_default"),
                         [](const auto& info) { return info.param; });

/// Which bulks rows read, pass by pass.
class Decisions : public Probe {
 public:
  ProbeNeeds needs() const override { return {.rows = true}; }
  void observe(const Observation& seen) override {
    if (seen.bulk) {
      read.add(seen.layer, seen.bulk->read());
      sets = seen.row.set_lse.size(3);
    }
  }
  RowStatistic read;
  int64_t sets = 0;
};

TEST_P(ReadAdaptive, AtTauOneItReadsEverything) {
  for (const auto& layout : {full_, pieces_}) {
    const auto context = encoded(layout);
    EntropyProbe entropy, expected_entropy;
    const auto logits =
        read(*model_, context, kQuery, Adaptive({.tau = 1, .window = kWindow}), {&entropy});
    EXPECT_LT(max_error(logits, read(*model_, context, kQuery, All(), {&expected_entropy})), 1e-12);
    EXPECT_LT(max_error(entropy.between().rows(), expected_entropy.between().rows()), 1e-12);
    EXPECT_LT(max_error(entropy.within().rows(), expected_entropy.within().rows()), 1e-12);
    // A window that holds all there is leaves nothing out, at any tau.
    const Adaptive wide({.tau = 0, .window = {.first = 2, .last = 100}});
    if (layout.pieces.size() == 1) {
      EXPECT_LT(max_error(read(*model_, context, kQuery, wide), logits), 1e-12);
    }
  }
}

TEST_P(ReadAdaptive, TokenByTokenDecidesAsAtOnce) {
  const Adaptive adaptive({.tau = 0.6, .window = kWindow, .mixture = true});
  const auto context = encoded(pieces_);
  Decisions together, apart;
  Reader whole(*model_, context, adaptive, {&together});
  const auto expected = whole.read(kQuery);
  Reader stepwise(*model_, context, adaptive, {&apart});
  std::vector<Tensor> rows;
  for (const auto token : kQuery) rows.push_back(stepwise.read(Tokens{token}));
  EXPECT_LT(max_error(torch::cat(rows), expected), 1e-12);
  EXPECT_TRUE(torch::equal(apart.read.rows(), together.read.rows()));
  EXPECT_EQ(together.sets, 5);  // as with every other reading: prefix, three pieces, own
  const auto share = together.read.mean().mean().item<double>();
  EXPECT_GT(share, 0.05);  // both decisions are there
  EXPECT_LT(share, 0.95);
}

TEST_P(ReadAdaptive, ForwardDecidesAsReadDoes) {
  for (const auto& layout : {full_, pieces_}) {
    for (const auto mass : {BulkMass::kEstimated, BulkMass::kTrue}) {
      const Adaptive adaptive({.tau = 0.6, .window = kWindow, .mass = mass});
      auto tokens = some_tokens(layout.tokens());
      tokens.insert(tokens.end(), kQuery.begin(), kQuery.end());
      const at::NoGradGuard no_grad;
      const auto hidden = forward(*model_, torch::tensor(tokens).unsqueeze(0), layout, adaptive);
      EXPECT_LT(max_error(model_->logits(hidden[0].slice(0, layout.tokens())),
                          read(*model_, encoded(layout), kQuery, adaptive)),
                1e-12);
    }
  }
}

TEST_P(ReadAdaptive, MomentsAreKeptOnRequestAndAreOfExactlyTheBulk) {
  const auto with = encoded(pieces_), without = encoded(pieces_, false);
  EXPECT_TRUE(without.pieces[0].moments.empty());
  ASSERT_EQ(static_cast<int64_t>(with.pieces[0].moments.size()), model_->config().layers);
  for (int64_t layer = 0; layer < model_->config().layers; ++layer) {
    const auto bulks = bulk_moments(with, layer, kWindow),
               made = bulk_moments(without, layer, kWindow);
    ASSERT_EQ(bulks.size(), 3u);
    const std::vector<int64_t> counts{9, 2, 4};
    for (std::size_t piece = 0; piece < 3; ++piece) {
      EXPECT_EQ(bulks[piece].count, counts[piece]);
      EXPECT_LT(max_error(bulks[piece].covariance(), made[piece].covariance()), 1e-12);
    }
  }
  const Adaptive adaptive({.tau = 0.6, .window = kWindow});
  EXPECT_LT(
      max_error(read(*model_, with, kQuery, adaptive), read(*model_, without, kQuery, adaptive)),
      1e-12);
}

TEST_P(ReadAdaptive, OrderOfInnerPiecesDoesNotMatter) {
  const Adaptive adaptive({.tau = 0.6, .window = kWindow, .mixture = true});
  auto context = encoded(pieces_);
  const auto expected = read(*model_, context, kQuery, adaptive);
  std::swap(context.pieces[0], context.pieces[1]);  // the last one has the window's end
  EXPECT_LT(max_error(read(*model_, context, kQuery, adaptive), expected), 1e-12);
}

}  // namespace
}  // namespace motet
