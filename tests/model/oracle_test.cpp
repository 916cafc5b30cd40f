#include "motet/model/oracle.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

const Tokens kTokens = some_tokens(2 + 9 + 4 + 7), kQuery = some_tokens(6, 11);

class Oracle : public testing::TestWithParam<std::string> {
 protected:
  EncodedContext parallel(Positions positions) const {
    return encode(*model_, kTokens, make_layout(2, {9, 4, 7}, positions));
  }

  std::shared_ptr<Decoder> model_ = golden(GetParam(), torch::kFloat64);
  const Config& config_ = model_->config();
  EncodedContext full_ = encode(*model_, kTokens, make_layout(2, {20}));
};

// yarn: angles that are scaled by more than 1.
INSTANTIATE_TEST_SUITE_P(Families, Oracle,
                         testing::Values("llama_default", "llama_yarn", "gpt2_default"),
                         [](const auto& info) { return info.param; });

TEST_P(Oracle, OfEverythingInPlaceIsTheFullRun) {
  const auto context = oracle(config_, parallel(Positions::kSequential), full_, {});
  EXPECT_LT(max_error(read(*model_, context, kQuery), read(*model_, full_, kQuery)), 1e-12);
}

TEST_P(Oracle, TakesWhatItSaysFromTheLayersItNames) {
  const auto pieces = parallel(Positions::kSequential);
  for (const auto& [text, layer, keys, values] : {std::tuple{"keys:1", 1, true, false},
                                                  {"values:0", 0, false, true},
                                                  {"both:not:0", 1, true, true}}) {
    const auto context = oracle(config_, pieces, full_, oracle_named(text));
    for (int64_t i = 0; i < config_.layers; ++i) {
      const auto source = [&](bool taken, auto field) {
        return taken && i == layer ? (full_.pieces[0].*field)[i].slice(2, 9, 13)
                                   : (pieces.pieces[1].*field)[i];
      };
      EXPECT_TRUE(torch::equal(context.pieces[1].keys[i], source(keys, &EncodedPiece::keys)))
          << text;
      EXPECT_TRUE(torch::equal(context.pieces[1].values[i], source(values, &EncodedPiece::values)))
          << text;
    }
  }
}

TEST_P(Oracle, MomentsAreOfTheKeysThatItHas) {
  const auto pieces = encode(*model_, kTokens, make_layout(2, {9, 4, 7}), {}, {.moments = true});
  const auto context = oracle(config_, pieces, full_, oracle_named("keys:1"));
  auto without = context;
  for (auto& piece : without.pieces) piece.moments.clear();
  constexpr Window kWindow{.first = 1, .last = 1};
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    const auto kept = bulk_moments(context, layer, kWindow),
               made = bulk_moments(without, layer, kWindow);
    ASSERT_EQ(kept.size(), 3u);
    for (std::size_t piece = 0; piece < 3; ++piece) {
      EXPECT_EQ(kept[piece].count, made[piece].count);
      // float64: only the order of sums differs
      EXPECT_LT(max_error(kept[piece].sum, made[piece].sum), 1e-9);
      EXPECT_LT(max_error(kept[piece].second, made[piece].second), 1e-9);
    }
  }
}

/// Before the first layer no token has seen another: what is taken there differs in its place only.
TEST_P(Oracle, PlacesKeysWhereThePiecesAre) {
  for (const auto positions : {Positions::kSpread, Positions::kLeft, Positions::kRight}) {
    const auto pieces = parallel(positions);
    const auto context = oracle(config_, pieces, full_, oracle_named("both:0"));
    for (std::size_t i = 1; i < 3; ++i) {  // the first and longest is where it was
      const auto error = max_error(context.pieces[i].keys[0], pieces.pieces[i].keys[0]);
      if (config_.learned_positions()) {
        EXPECT_GT(error, 1e-3);  // learned positions stay those of the full run
      } else {
        EXPECT_LT(error, 1e-6);  // fp32 angles, three times
      }
    }
  }
}

TEST_P(Oracle, OfOtherTokensIsAnError) {
  const auto pieces = parallel(Positions::kSpread);
  auto other = kTokens;
  other.back() = (other.back() + 1) % 40;
  EXPECT_EQ(
      message([&] { oracle(config_, pieces, encode(*model_, other, make_layout(2, {20})), {}); }),
      "motet::oracle: the full run is of 2 + 20 tokens, prefix + pieces, and the context of "
      "2 + 20; they are of the same tokens");
  EXPECT_EQ(message([&] { oracle(config_, pieces, pieces, {}); }),
            "motet::oracle: the full run has 3 pieces; all of the context is one piece in it");
  EXPECT_EQ(message([&] { oracle(config_, pieces, full_, oracle_named("keys:7")); }),
            "motet::oracle: layer 7, but the model has " + std::to_string(config_.layers) +
                ", counted from 0");
}

TEST(OracleNamed, IsReadAndWritten) {
  for (const auto* name : {"both", "keys", "values:3", "both:0+4-9", "keys:not:5"}) {
    EXPECT_EQ(oracle_named(name).name(), name);
  }
  EXPECT_EQ(oracle_named("both:2+1+0+2").name(), "both:0-2");
  EXPECT_FALSE(oracle_named("both:not:5").in_layer(5));
  EXPECT_TRUE(oracle_named("both:not:5").in_layer(4));
  EXPECT_EQ(message([] { oracle_named("queries"); }),
            "the oracle 'queries': 'queries' cannot be taken; it is keys, values or both, then, if "
            "not in all layers, :LAYERS or :not:LAYERS, as both:0+4-9");
  EXPECT_EQ(message([] { oracle_named("both:4-2"); }),
            "the oracle 'both:4-2': '4-2' is neither a layer nor a range of layers; it is keys, "
            "values or both, then, if not in all layers, :LAYERS or :not:LAYERS, as both:0+4-9");
}

}  // namespace
}  // namespace motet
