#include <gtest/gtest.h>
#include <torch/nn/functional.h>
#include <torch/types.h>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/model/encode.h"
#include "motet/model/family.h"
#include "motet/model/forward.h"
#include "motet/model/reader.h"
#include "motet/probe/probabilities.h"
#include "motet/reading/adaptive.h"
#include "motet/reading/registry.h"
#include "motet/reading/select.h"
#include "reference/attention.h"
#include "temporary.h"

/// Models whose layers have windows, and scores with a soft cap.
namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr double kCap = 1.5;
const Tokens kContext = some_tokens(2 + 9 + 4 + 7);
const Tokens kQuery = some_tokens(6, 11);

/// Hands a pass of the library the rule with a cap, as a family with one would.
class Capped : public Attention {
 public:
  explicit Capped(Attention& pass) : pass_(pass) {}
  Tensor attend(int64_t layer, const Tensor& query, const Tensor& keys, const Tensor& values,
                const ScoreRule& rule) override {
    return pass_.attend(layer, query, keys, values, {.scale = rule.scale, .cap = kCap});
  }

 private:
  Attention& pass_;
};

/// A block whose scores have a cap.
class CappedBlock : public Block {
 public:
  explicit CappedBlock(std::shared_ptr<Block> inner) : inner_(std::move(inner)) {
    register_module("inner", inner_);
  }
  Tensor forward(const Tensor& x, const Rotation& rotation, Attention& attention) const override {
    Capped capped(attention);
    return inner_->forward(x, rotation, capped);
  }

 private:
  std::shared_ptr<Block> inner_;
};

/// The golden model with windows, and with capped scores where asked for.
std::shared_ptr<Decoder> made(const std::string& name, std::vector<int64_t> windows, bool capped) {
  const auto plain = golden(name, torch::kFloat64);
  auto config = plain->config();
  if (windows != std::vector<int64_t>{-1}) config.windows = std::move(windows);
  const auto shipped = *find_family(config.model_type);
  if (capped) {
    auto family = shipped;
    family.model_type = "capped_" + shipped.model_type;
    family.make_block = [make = shipped.make_block](const Config& config, int64_t layer) {
      return std::make_shared<CappedBlock>(make(config, layer));
    };
    register_family(family);
    config.model_type = family.model_type;
  }
  auto model = std::make_shared<Decoder>(config);
  model->to(torch::kFloat64);
  const at::NoGradGuard no_grad;
  auto parameters = model->parameters();
  const auto values = plain->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].copy_(values[i]);
  return model;
}

/// A packed row by its matrix: what each token sees, from positions.
class NaivePass : public Attention {
 public:
  NaivePass(const Config& config, const Layout& layout, std::vector<int64_t> positions)
      : config_(config), positions_(std::move(positions)) {
    segments_.assign(layout.prefix, -1);
    for (std::size_t piece = 0; piece < layout.pieces.size(); ++piece) {
      segments_.insert(segments_.end(), layout.pieces[piece], static_cast<int64_t>(piece));
    }
    segments_.resize(positions_.size(), static_cast<int64_t>(layout.pieces.size()));
    query_ = static_cast<int64_t>(layout.pieces.size());
  }
  Tensor attend(int64_t layer, const Tensor& query, const Tensor& keys, const Tensor& values,
                const ScoreRule& rule) override {
    const auto rows = static_cast<int64_t>(positions_.size());
    const auto hidden = torch::ones({rows, rows}, torch::kBool);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        const bool near = config_.windows.empty() || config_.windows[layer] == 0 ||
                          positions_[i] - positions_[j] < config_.windows[layer];
        const bool together =
            segments_[j] == -1 || segments_[j] == segments_[i] || segments_[i] == query_;
        hidden[i][j] = !(near && together);
      }
    }
    const auto group = query.size(1) / keys.size(1);
    const auto k = keys.repeat_interleave(group, 1), v = values.repeat_interleave(group, 1);
    auto scores = torch::matmul(query, k.transpose(2, 3)) * *rule.scale;
    if (rule.cap) scores = *rule.cap * torch::tanh(scores / *rule.cap);
    return torch::matmul(scores.masked_fill(hidden, -INFINITY).softmax(-1), v);
  }

 private:
  const Config& config_;
  std::vector<int64_t> positions_, segments_;
  int64_t query_;
};

const std::vector<int64_t> kOwn{-1};  // windows as the model has them

struct Case {
  std::string model;
  std::vector<int64_t> windows;
  bool capped;
  friend std::ostream& operator<<(std::ostream& out, const Case& of) {
    out << of.model;
    for (const auto window : of.windows == kOwn ? std::vector<int64_t>() : of.windows) {
      out << "_" << window;
    }
    return out << (of.capped ? "_capped" : "");
  }
};

class Windows : public testing::TestWithParam<Case> {
 protected:
  std::shared_ptr<Decoder> model_ = made(GetParam().model, GetParam().windows, GetParam().capped);
};

INSTANTIATE_TEST_SUITE_P(
    Models, Windows,
    testing::Values(Case{"llama_default", {4, 0}, false}, Case{"llama_default", {3, 6}, true},
                    Case{"gpt2_default", {1, 5}, false}, Case{"gpt2_default", {}, true},
                    Case{"mistral_window", kOwn, false}, Case{"qwen2_window", kOwn, false},
                    Case{"qwen3_window", kOwn, false}, Case{"gemma2_default", kOwn, false},
                    Case{"gemma2_no_caps", kOwn, false}, Case{"gemma3_default", kOwn, false},
                    Case{"gemma3_scaled", kOwn, false}, Case{"gpt_neox_default", kOwn, false},
                    Case{"gpt_neox_serial", kOwn, false}, Case{"phi3_partial", kOwn, false},
                    Case{"phi3_long", kOwn, false}, Case{"olmo2_default", kOwn, false}),
    testing::PrintToStringParamName());

TEST_P(Windows, PassesSeeWhatPositionsSay) {
  for (const auto scheme :
       {Positions::kSpread, Positions::kLeft, Positions::kRight, Positions::kSequential}) {
    SCOPED_TRACE(name_of(scheme));
    const auto layout = make_layout(2, {9, 4, 7}, scheme);
    auto tokens = kContext;
    tokens.insert(tokens.end(), kQuery.begin(), kQuery.end());
    auto positions = layout.positions;
    for (std::size_t i = 0; i < kQuery.size(); ++i) {
      positions.push_back(layout.query_position + static_cast<int64_t>(i));
    }
    const auto row = torch::tensor(tokens).unsqueeze(0);
    const at::NoGradGuard no_grad;
    NaivePass naive(model_->config(), layout, positions);
    const auto expected = model_->logits(model_->forward(row, positions, naive))[0];
    const auto first = static_cast<int64_t>(kContext.size());
    constexpr double kRounding = 1e-10;  // float64
    EXPECT_LT(max_error(model_->logits(forward(*model_, row, layout))[0], expected), kRounding);
    const auto context = encode(*model_, kContext, layout);
    EXPECT_LT(max_error(read(*model_, context, kQuery), expected.slice(0, first)), kRounding);
    // Token by token, and in a batch with a shorter query.
    const All all;
    Reader reader(*model_, context, all), batch(*model_, context, all);
    for (std::size_t i = 0; i < kQuery.size(); ++i) {
      const auto logits = model_->logits(reader.read(Tokens{kQuery[i]}));
      EXPECT_LT(max_error(logits[0], expected[first + static_cast<int64_t>(i)]), kRounding) << i;
    }
    const auto both = model_->logits(batch.read({{kQuery.begin(), kQuery.begin() + 3}, kQuery}));
    EXPECT_LT(max_error(both.slice(0, 3), expected.slice(0, first)), kRounding);
    EXPECT_LT(max_error(both.slice(0, 0, 3), expected.slice(0, first, first + 3)), kRounding);
  }
}

TEST_P(Windows, HideKeysFromReadingsAndProbes) {
  const auto layout = make_layout(2, {9, 4, 7});
  const auto context = encode(*model_, kContext, layout);
  ProbabilityProbe probe({0, 5});
  const Select select({.pieces = 1});
  read(*model_, context, kQuery, select, {&probe});
  const auto positions = context.positions();
  for (const int64_t row : {0, 5}) {
    const auto p = probe.row(row);  // [layers, batch, heads, keys]
    EXPECT_LT(max_error(p.sum(-1), torch::ones_like(p.sum(-1))), 1e-10);
    for (int64_t layer = 0; layer < p.size(0); ++layer) {
      const auto window = model_->config().window(layer).value_or(1000);
      for (std::size_t key = 0; key < positions.size(); ++key) {
        if (context.query_position + row - positions[key] >= window) {
          EXPECT_EQ(p[layer].select(-1, static_cast<int64_t>(key)).max().item<double>(), 0)
              << "layer " << layer << ", key " << key;
        }
      }
    }
  }
}

/// Every parameter is trained, and blocks that are computed again train alike.
TEST_P(Windows, TrainAllParameters) {
  auto tokens = kContext;
  tokens.insert(tokens.end(), kQuery.begin(), kQuery.end());
  const auto row = torch::tensor(tokens).unsqueeze(0);
  std::vector<std::vector<Tensor>> gradients;
  for (const bool checkpoint : {false, true}) {
    model_->zero_grad();
    const auto hidden =
        forward(*model_, row, make_layout(2, {9, 4, 7}), All(), {}, {.checkpoint = checkpoint});
    torch::nn::functional::cross_entropy(model_->logits(hidden)[0], torch::tensor(tokens))
        .backward();
    auto& found = gradients.emplace_back();
    for (const auto& item : model_->named_parameters()) {
      ASSERT_TRUE(item.value().grad().defined()) << item.key();
      EXPECT_GT(item.value().grad().abs().max().item<double>(), 0) << item.key();
      found.push_back(item.value().grad().clone());
    }
  }
  for (std::size_t i = 0; i < gradients[0].size(); ++i) {
    EXPECT_LT(max_error(gradients[1][i], gradients[0][i]), 1e-10);
  }
}

/// LongRope chooses its factors once, by what a context is for.
TEST(LongRope, FactorsAreThoseOfTheWholeReach) {
  const auto model = golden("phi3_long", torch::kFloat64);  // of 32 positions at first
  const auto layout = make_layout(0, {10, 10});
  const auto tokens = some_tokens(20);
  const auto near = encode(*model, tokens, layout),
             far = encode(*model, tokens, layout, {}, {.reach = 33});
  EXPECT_FALSE(near.pieces[0].origin.long_factors);
  EXPECT_TRUE(far.pieces[0].origin.long_factors);
  EXPECT_GT(max_error(near.pieces[0].keys[0], far.pieces[0].keys[0]), 0.1);
  const auto long_query = some_tokens(23);
  EXPECT_NO_THROW(read(*model, far, long_query));
  EXPECT_EQ(message([&] { read(*model, near, long_query); }),
            "motet::Reader: position 32 takes LongRope's long factors, but what it reads was "
            "encoded for 11 positions, with the short ones; tell encode, or the EncodedContext, of "
            "the `reach` that is wanted");
  auto mixed = far;
  mixed.pieces[1] = near.pieces[1];
  EXPECT_EQ(message([&] { read(*model, mixed, kQuery); }),
            "motet::Reader: piece 2 was encoded with LongRope's short factors, which a context of "
            "33 positions does not have; encode all of its pieces with one ContextOptions::reach");
}

TEST(Window, EstimatesOfWhatSomeRowsDoNotSeeAreErrors) {
  const auto model = made("llama_default", {8, 0}, false);
  const auto context = encode(*model, some_tokens(40), make_layout(0, {20, 20}));
  EXPECT_EQ(
      message([&] {
        read(*model, context, kQuery,
             *std::make_unique<Adaptive>(AdaptiveOptions{.window = {.first = 2, .last = 4}}));
      }),
      "motet::read_rows: adaptive(tau=0.95, window=2+4) estimates the mass of keys that all rows "
      "see, from scores without a soft cap; layer 0 has a window: choose a reading that decides "
      "otherwise");
}

TEST(Decoder, ScalesTheEmbeddingAndCapsLogits) {
  const auto plain = golden("llama_default", torch::kFloat64);
  auto config = plain->config();
  config.embedding_scale = 3;
  config.logit_cap = 0.5;
  Decoder model(config), scaled(plain->config());
  for (auto* made : {&model, &scaled}) {
    made->to(torch::kFloat64);
    const at::NoGradGuard no_grad;
    auto parameters = made->parameters();
    const auto values = plain->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].copy_(values[i]);
  }
  const at::NoGradGuard no_grad;
  scaled.named_parameters()["tokens.weight"].mul_(3);
  const auto row = torch::tensor(kContext).unsqueeze(0);
  const auto layout = make_layout(2, {9, 4, 7});
  const auto hidden = forward(model, row, layout);
  EXPECT_LT(max_error(hidden, forward(scaled, row, layout)), 1e-12);
  EXPECT_LT(max_error(model.logits(hidden), 0.5 * torch::tanh(plain->logits(hidden) / 0.5)), 1e-12);
  EXPECT_LE(model.logits(hidden).abs().max().item<double>(), 0.5);
  config.logit_cap = 0;
  EXPECT_EQ(message([&] { Decoder wrong(config); }),
            "motet::Decoder: a logit cap of 0; it is above 0");
}

TEST(Window, IsOneForEachLayer) {
  auto config = golden("llama_default", torch::kFloat64)->config();
  config.windows = {4};
  EXPECT_EQ(message([&] { Decoder model(config); }),
            "motet::Decoder: windows of 1 layers, the model has 2");
}

}  // namespace
}  // namespace motet
