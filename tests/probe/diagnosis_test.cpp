#include "motet/probe/diagnosis.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/probe/probabilities.h"
#include "motet/reading/reading.h"
#include "motet/reading/weigh.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

class Keep : public Probe {
 public:
  ProbeNeeds needs() const override { return {.rows = true, .query_keys_values = true}; }
  void observe(const Observation& seen) override { seen_.push_back(seen); }
  std::vector<Observation> seen_;
};

/// gpt2_layer_scale: its scores are scaled by layer, too.
class Diagnosis : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<Decoder> model_ = golden(GetParam(), torch::kFloat64);
  EncodedContext context_ = encode(*model_, some_tokens(2 + 9 + 4), make_layout(2, {9, 4}));
  Tokens query_ = some_tokens(6, 11);
};

INSTANTIATE_TEST_SUITE_P(Families, Diagnosis, testing::Values("llama_default", "gpt2_layer_scale"),
                         [](const auto& info) { return info.param; });

TEST_P(Diagnosis, EqualsItsDefinition) {
  DiagnosisProbe diagnosis;
  Keep keep;
  read(*model_, context_, query_, All(), {&diagnosis, &keep});
  ASSERT_EQ(keep.seen_.size(), 2u);
  for (int64_t layer = 0; layer < 2; ++layer) {
    const auto& seen = keep.seen_[layer];
    const auto q = seen.query[0];
    const auto heads = q.size(0), group = heads / seen.keys[1].size(1);
    EXPECT_EQ(seen.prefix, 2);
    EXPECT_EQ(seen.pieces, (std::vector<int64_t>{9, 4}));
    EXPECT_LT(max_error(diagnosis.query_norm().rows()[layer][0], q.norm(2, -1)), 1e-12);
    for (int64_t place = 0; place < 9; ++place) {
      for (int64_t head = 0; head < heads; ++head) {
        double norm = 0, value_norm = 0, cosine = 0, score = 0, count = 0;
        for (std::size_t piece = 1; piece <= 2; ++piece) {
          if (place >= seen.keys[piece].size(2)) continue;
          const auto k = seen.keys[piece][0][head / group][place];
          norm += k.norm().item<double>();
          value_norm += seen.values[piece][0][head / group][place].norm().item<double>();
          ++count;
          for (int64_t row = 0; row < 6; ++row) {
            const auto dot = q[head][row].dot(k).item<double>();
            cosine += dot / (k.norm() * q[head][row].norm()).item<double>() / 6;
            score += std::abs(*seen.rule.scale * dot) / 6;
          }
        }
        // float64: only the order of sums differs.
        EXPECT_NEAR(diagnosis.key_norm()[layer][head / group][place].item<double>(), norm / count,
                    1e-12);
        EXPECT_NEAR(diagnosis.value_norm()[layer][head / group][place].item<double>(),
                    value_norm / count, 1e-12);
        EXPECT_NEAR(diagnosis.cosine()[layer][head][place].item<double>(), cosine / count, 1e-12);
        EXPECT_NEAR(diagnosis.abs_score()[layer][head][place].item<double>(), score / count, 1e-12);
      }
    }
  }
}

TEST_P(Diagnosis, OfManyPassesIsThatOfOne) {
  DiagnosisProbe at_once, one_by_one;
  read(*model_, context_, query_, All(), {&at_once});
  const All all;
  Reader reader(*model_, context_, all, {&one_by_one});
  for (const auto token : query_) reader.read(Tokens{token});
  EXPECT_LT(max_error(one_by_one.cosine(), at_once.cosine()), 1e-12);
  EXPECT_LT(max_error(one_by_one.abs_score(), at_once.abs_score()), 1e-12);
  EXPECT_LT(max_error(one_by_one.key_norm(), at_once.key_norm()), 1e-12);
}

TEST(DiagnosisProbe, ThatSawNothingSaysSo) {
  EXPECT_EQ(message([] { DiagnosisProbe().cosine(); }),
            "motet::DiagnosisProbe: no query was observed to read pieces");
}

TEST_P(Diagnosis, NamedRowsAreThoseOfTheMatrix) {
  // `temper` puts a factor on scores and a log weight on sets: both must be in the probabilities.
  const Temper temper(0.7, 0.8);
  ProbabilityProbe some({0, 4});
  Keep keep;
  read(*model_, context_, query_, temper, {&some, &keep});
  for (int64_t layer = 0; layer < 2; ++layer) {
    const auto& seen = keep.seen_[layer];
    for (const auto row : {0, 4}) {
      const auto p = some.row(row)[layer][0];  // [heads, keys]
      EXPECT_EQ(p.size(1), 2 + 9 + 4 + 6);
      EXPECT_EQ(p.slice(1, 2 + 9 + 4 + row + 1).abs().max().item<double>(), 0);  // the future
      const auto group = p.size(0) / seen.values[0].size(1);
      const auto values = torch::cat(seen.values, 2)[0].repeat_interleave(group, 0);
      const auto out = torch::matmul(p.unsqueeze(1), values).squeeze(1);
      EXPECT_LT(max_error(out, seen.row.out[0].select(1, row)), 1e-12);
      const auto entropy = -torch::xlogy(p, p).sum(-1);
      EXPECT_NEAR(p.sum(-1).sub(1).abs().max().item<double>(), 0, 1e-12);
      EXPECT_TRUE(entropy.isfinite().all().item<bool>());
    }
  }
  EXPECT_EQ(message([&] { some.row(1); }), "motet::ProbabilityProbe: row 1 was not asked for");
  ProbabilityProbe late({9});
  read(*model_, context_, query_, temper, {&late});
  EXPECT_EQ(message([&] { late.row(9); }), "motet::ProbabilityProbe: row 9 was not observed");
}

}  // namespace
}  // namespace motet
