#include "motet/model/ablation.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>
#include <limits>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/probe/entropy.h"
#include "motet/probe/mass.h"
#include "motet/reading/reading.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

/// A model of grouped keys and one of learned positions, in float64.
class Ablating : public testing::TestWithParam<std::string> {
 protected:
  Tensor read_with(const Ablation& ablation, const Probes& probes = {}) const {
    return read(*model_, context_, query_, All(), probes, ablation);
  }

  std::shared_ptr<Decoder> model_ = golden(GetParam(), torch::kFloat64);
  Tokens query_ = some_tokens(6, 11);
  EncodedContext context_ = encode(*model_, some_tokens(2 + 9 + 7), make_layout(2, {9, 7}));
};

INSTANTIATE_TEST_SUITE_P(Families, Ablating, testing::Values("llama_default", "gpt2_default"),
                         [](const auto& info) { return info.param; });

/// What the model's last product makes of one head's out, set by hand: weights of that head's
/// features are 0.
TEST_P(Ablating, ZeroIsAsIfTheHeadHadNoWayOut) {
  const auto ablated = read_with({Ablate::kZero, {{1, 1}}});
  const at::NoGradGuard no_grad;
  const auto features = model_->config().features;
  auto weight = model_->named_parameters()["layers.1.out.weight"];
  weight.slice(1, features, 2 * features).zero_();
  // The context stays as it was encoded, as in an ablation.
  context_.prefix.origin.model = model_->fingerprint();
  for (auto& piece : context_.pieces) piece.origin.model = model_->fingerprint();
  EXPECT_LT(max_error(ablated, read_with({})), 1e-12);
}

TEST_P(Ablating, MeanIsOverTheRowsSoFarInHoweverManyPasses) {
  const Ablation ablation{Ablate::kMean, {{0, 0}, {1, 1}}};
  const auto at_once = read_with(ablation);
  const All all;
  Reader reader(*model_, context_, all, {}, ablation);
  std::vector<Tensor> rows;
  for (const auto token : query_) rows.push_back(model_->logits(reader.read(Tokens{token})));
  EXPECT_LT(max_error(torch::cat(rows), at_once), 1e-12);
  const auto plain = read_with({});
  EXPECT_LT(max_error(at_once[0], plain[0]), 1e-12);  // the first row is its own mean
  EXPECT_GT(max_error(at_once[1], plain[1]), 1e-6);
}

TEST_P(Ablating, MeanIsOfEachQueryInPassesWhereOthersHaveNoRows) {
  const Ablation ablation{Ablate::kMean, {{0, 0}, {1, 1}}};
  const All all;
  Reader together(*model_, context_, all, {}, ablation);
  Reader first(*model_, context_, all, {}, ablation);
  Reader second(*model_, context_, all, {}, ablation);
  const std::vector<std::vector<Tokens>> passes{{{1}, {2}}, {{}, {3}}, {{4}, {5}}};
  for (const auto& queries : passes) {
    std::vector<Tensor> alone;
    if (!queries[0].empty()) alone.push_back(first.read(queries[0]));
    alone.push_back(second.read(queries[1]));
    EXPECT_LT(max_error(together.read(queries), torch::cat(alone)), 1e-12);
  }
}

/// A head that reads nothing but own keys is a head for which every other set is dropped.
class OwnOnly : public Reading {
 public:
  explicit OwnOnly(int64_t layers_head) : head_(layers_head) {}
  std::string name() const override { return "own only"; }
  ReadingNeeds needs() const override { return {.scores = true}; }
  std::optional<Tensor> decide(const PieceScores& scores) const override {
    auto log_weight = torch::zeros_like(scores.lse);
    log_weight.select(1, head_).slice(2, 0, -1).fill_(-std::numeric_limits<double>::infinity());
    return log_weight;
  }

 private:
  int64_t head_;
};

TEST_P(Ablating, OwnOnlyDropsEverySetButOwn) {
  Ablation ablation{Ablate::kOwnOnly, {}};
  for (int64_t layer = 0; layer < model_->config().layers; ++layer) {
    ablation.heads.push_back({layer, 1});
  }
  EntropyProbe entropy, expected_entropy;
  MassProbe mass;
  const auto logits = read_with(ablation, {&entropy, &mass});
  EXPECT_LT(max_error(logits, read(*model_, context_, query_, OwnOnly(1), {&expected_entropy})),
            1e-12);
  EXPECT_LT(max_error(entropy.entropy().rows(), expected_entropy.entropy().rows()), 1e-12);
  EXPECT_EQ(mass.own().rows().select(2, 1).min().item<double>(), 1);
  EXPECT_LT(mass.own().rows().select(2, 0).max().item<double>(), 1);
}

TEST_P(Ablating, AHeadThatIsNotThereIsAnError) {
  const auto heads = model_->config().heads, layers = model_->config().layers;
  EXPECT_EQ(message([&] {
              read_with({Ablate::kZero, {{0, heads}}});
            }),
            "motet::Ablation: head 0." + std::to_string(heads) + ", but the model has " +
                std::to_string(layers) + " layers of " + std::to_string(heads) +
                " heads, counted from 0");
}

TEST(HeadsNamed, ReadsListsAndFiles) {
  EXPECT_EQ(heads_named("3.1,0.2", "--ablate"), (std::vector<LayerHead>{{0, 2}, {3, 1}}));
  EXPECT_EQ(heads_named("1.0\n1.0\n 0.10 ", "heads.txt"),
            (std::vector<LayerHead>{{0, 10}, {1, 0}}));
  EXPECT_EQ(message([] { heads_named("3.1,4", "--ablate"); }),
            "--ablate: '4' is no head; LAYER.HEAD is, as 3.0");
  EXPECT_EQ(message([] { heads_named("3.-1", "--ablate"); }),
            "--ablate: '3.-1' is no head; LAYER.HEAD is, as 3.0");
  EXPECT_EQ(message([] { heads_named(" ", "heads.txt"); }),
            "heads.txt: names no head; LAYER.HEAD does, as 3.0");
}

}  // namespace
}  // namespace motet
