#include "motet/train/sparsity.h"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <cmath>
#include <filesystem>
#include <memory>

#include "motet/context/layout.h"
#include "motet/model/forward.h"
#include "motet/model/weights.h"
#include "motet/probe/entropy.h"
#include "motet/reading/reading.h"
#include "motet/reading/registry.h"
#include "motet/reading/select.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

/// A float64 model of each family, a prefix, three pieces and a query.
class SparsityOf : public testing::TestWithParam<std::string> {
 protected:
  /// No token twice: at one position of two pieces it would have two equal keys, which rounding
  /// orders at random.
  Tensor tokens() const {
    const auto row = (3 + 7 * torch::arange(layout_.tokens() + 6)).remainder(40);
    return torch::stack({row, row.flip(0)});
  }

  /// A language-model loss of the query's rows.
  Tensor nll(const Tensor& hidden) const {
    const auto first = layout_.tokens();
    const auto logits = model_->logits(hidden.slice(1, first, -1)).flatten(0, 1);
    return torch::nll_loss(logits.log_softmax(-1), tokens().slice(1, first + 1).flatten());
  }

  /// Loss and gradients of all parameters.
  struct Result {
    Tensor loss;
    std::vector<Tensor> gradients;
  };
  Result differentiate(const Tensor& loss) const {
    return {loss.detach(),
            torch::autograd::grad({loss}, model_->parameters(), {}, {}, false, true)};
  }

  std::shared_ptr<Decoder> model_ =
      load_model(std::filesystem::path(MOTET_GOLDEN) / GetParam(), {.dtype = torch::kFloat64});
  Layout layout_ = make_layout(2, {9, 4, 7});
};

INSTANTIATE_TEST_SUITE_P(Families, SparsityOf, testing::Values("llama_default", "gpt2_default"),
                         [](const auto& info) { return info.param; });

void expect_equal(const std::vector<Tensor>& found, const std::vector<Tensor>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_EQ(found[i].defined(), expected[i].defined()) << "parameter " << i;
    if (found[i].defined()) {
      EXPECT_LT(max_error(found[i], expected[i]), 1e-12) << "parameter " << i;  // order of sums
    }
  }
}

/// The rows that a pass makes, from the definition, as attention saw their queries and keys.
class Twin : public Probe {
 public:
  Twin(const Layout& layout, int64_t query, KeyBudget budget)
      : context_(encode_sets(layout)),
        query_(read_sets(layout.prefix, layout.pieces, {query}, {0})),
        budget_(budget) {}
  ProbeNeeds needs() const override { return {.query_keys_values = true}; }
  void observe(const Observation& seen) override {
    const auto& sets = seen.kind == RowKind::kContext ? context_ : query_;
    const auto row = reference::attend(seen.query, torch::cat(seen.keys, 2),
                                       torch::cat(seen.values, 2), sets, {}, {.budget = budget_});
    if (seen.layer >= static_cast<int64_t>(layers.size())) layers.emplace_back();
    for (int64_t i = 0; i < sets.rows(); ++i) {
      const auto keys = static_cast<int64_t>(reference::visible(sets, i).keys.size());
      const auto counted = keys - (budget_.counts_first ? 0 : 1);  // every row sees key 0
      const auto most = budget_.share ? std::ceil(*budget_.share * static_cast<double>(counted))
                                      : static_cast<double>(budget_.keys);
      if (static_cast<double>(counted) <= most) continue;
      for (int64_t b = 0; b < seen.query.size(0); ++b) {
        for (int64_t head = 0; head < seen.query.size(1); ++head) {
          layers.back().push_back({head, row.top_mass[b][head][i].item<double>(),
                                   row.entropy[b][head][i].item<double>()});
        }
      }
    }
  }
  struct SeenRow {
    int64_t head;
    double mass, entropy;
  };
  std::vector<std::vector<SeenRow>> layers;  // rows that see more than k keys

 private:
  KeySets context_, query_;
  KeyBudget budget_;
};

TEST_P(SparsityOf, IsTheMeanOverRowsThatSeeMoreThanTheirBudget) {
  const at::NoGradGuard no_grad;
  const auto expect = [&](const SparsityOptions& options, const auto& of_row) {
    Sparsity sparsity(options);
    Twin twin(layout_, 6, options.budget());
    const auto plain = forward(*model_, tokens(), layout_, All(), {&twin});
    const auto hidden = forward(*model_, tokens(), layout_, All(), {}, {.penalty = &sparsity});
    EXPECT_TRUE(torch::equal(hidden, plain));
    double sum = 0, count = 0;
    for (std::size_t layer = 0; layer < twin.layers.size(); ++layer) {
      if (!options.layers.empty() && options.layers[0] != static_cast<int64_t>(layer)) {
        EXPECT_TRUE(std::isnan(sparsity.penalty_of_layers()[layer].item<double>()));
        continue;
      }
      double of_layer = 0, rows = 0;
      for (const auto& row : twin.layers[layer]) {
        if (!options.heads.empty() && options.heads[0] != row.head) continue;
        of_layer += of_row(row);
        ++rows;
      }
      EXPECT_NEAR(sparsity.penalty_of_layers()[layer].item<double>(), of_layer / rows, 1e-12);
      sum += of_layer;
      count += rows;
    }
    EXPECT_NEAR(sparsity.penalty().item<double>(), sum / count, 1e-12);
    EXPECT_NEAR(sparsity.loss().item<double>(), options.weight * sum / count, 1e-12);
  };
  expect({.keys = 3, .weight = 0.3}, [](const auto& row) { return 1 - row.mass; });
  expect({.penalty = Penalty::kLog, .keys = 3},
         [](const auto& row) { return -std::log(row.mass); });
  expect({.penalty = Penalty::kHinge, .keys = 3, .floor = 0.2},
         [](const auto& row) { return std::max(0.0, 0.8 - row.mass); });
  expect({.penalty = Penalty::kEntropy, .keys = 3}, [](const auto& row) { return row.entropy; });
  expect({.keys = 3, .layers = {1}}, [](const auto& row) { return 1 - row.mass; });
  expect({.keys = 3, .heads = {1}}, [](const auto& row) { return 1 - row.mass; });
  expect({.keys = 3, .layers = {1}, .heads = {0}}, [](const auto& row) { return 1 - row.mass; });
  expect({.share = 0.25}, [](const auto& row) { return 1 - row.mass; });
  expect({.keys = 2, .counts_first = false}, [](const auto& row) { return 1 - row.mass; });
  expect({.penalty = Penalty::kLog, .share = 0.5, .counts_first = false},
         [](const auto& row) { return -std::log(row.mass); });
}

TEST_P(SparsityOf, GradientsAreThoseOfTheLoss) {
  for (const auto penalty : {Penalty::kTail, Penalty::kLog, Penalty::kHinge, Penalty::kEntropy}) {
    Sparsity sparsity({.penalty = penalty, .keys = 3, .weight = 0.5});
    const auto loss = [&] {
      const auto hidden = forward(*model_, tokens(), layout_, All(), {}, {.penalty = &sparsity});
      return nll(hidden) + sparsity.loss();
    };
    const auto [value, gradients] = differentiate(loss());
    auto parameters = model_->parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      if (!gradients[i].defined()) continue;
      // Along the gradient the loss rises by |gradient|^2 a step: a central difference.
      const auto norm = gradients[i].norm().item<double>();
      if (norm == 0) continue;
      const at::NoGradGuard no_grad;
      const auto step = 1e-6 / norm;
      parameters[i].add_(gradients[i], step);
      const auto above = loss().item<double>();
      parameters[i].sub_(gradients[i], 2 * step);
      const auto below = loss().item<double>();
      parameters[i].add_(gradients[i], step);
      EXPECT_NEAR((above - below) / 2e-6, norm, 1e-6 + 1e-5 * norm) << name_of(penalty) << " " << i;
    }
    // And along a direction that has nothing to do with it, in all parameters at once.
    torch::manual_seed(13);
    const at::NoGradGuard no_grad;
    std::vector<Tensor> direction;
    double slope = 0;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      direction.push_back(torch::randn_like(parameters[i]));
      slope += gradients[i].defined() ? (gradients[i] * direction[i]).sum().item<double>() : 0;
    }
    const auto at_step = [&](double step) {
      for (std::size_t i = 0; i < parameters.size(); ++i) parameters[i].add_(direction[i], step);
      return loss().item<double>();
    };
    const auto above = at_step(1e-7), below = at_step(-2e-7);
    at_step(1e-7);
    EXPECT_NEAR((above - below) / 2e-7, slope, 1e-6 + 1e-5 * std::abs(slope)) << name_of(penalty);
  }
}

TEST_P(SparsityOf, ARecomputedBlockAddsNothing) {
  for (const auto* name : {"all", "select:2", "select:1:layers", "temper", "topk:5"}) {
    const auto reading = reading_named(name);
    Sparsity sparsity({.keys = 3, .weight = 0.5, .layers = {1}});
    const auto run = [&](bool checkpoint) {
      const auto hidden = forward(*model_, tokens(), layout_, reading, {},
                                  {.penalty = &sparsity, .checkpoint = checkpoint});
      return differentiate(nll(hidden) + sparsity.loss());
    };
    const auto kept = run(false), again = run(true);
    EXPECT_LT(max_error(again.loss, kept.loss), 1e-12) << reading->name();
    expect_equal(again.gradients, kept.gradients);
  }
}

TEST_P(SparsityOf, BlocksMayBeComputedAgainWithoutAPenalty) {
  const auto run = [&](bool checkpoint) {
    return differentiate(nll(forward(*model_, tokens(), layout_, Select({.pieces = 1}), {},
                                     {.checkpoint = checkpoint})));  // the reading is gone by then
  };
  const auto kept = run(false), again = run(true);
  EXPECT_TRUE(torch::equal(again.loss, kept.loss));
  expect_equal(again.gradients, kept.gradients);
}

TEST_P(SparsityOf, ABlockThatIsComputedAgainHasNoSecondDerivative) {
  const auto parameters = model_->parameters();
  const auto loss = nll(forward(*model_, tokens(), layout_, All(), {}, {.checkpoint = true}));
  const auto gradient = torch::autograd::grad({loss}, {parameters[0]}, {}, /*retain_graph=*/true,
                                              /*create_graph=*/true, /*allow_unused=*/true)[0];
  EXPECT_EQ(message([&] { gradient.square().sum().backward(); }),
            "motet::forward, computing blocks again: differentiable once; a second derivative "
            "(create_graph) is not known");
}

TEST_P(SparsityOf, ProbesSeeRowsOnceWhereBlocksAreComputedAgain) {
  EntropyProbe entropy;
  const auto hidden = forward(*model_, tokens(), layout_, All(), {&entropy}, {.checkpoint = true});
  const auto seen = entropy.entropy().rows().sizes().vec();
  differentiate(nll(hidden));
  EXPECT_EQ(entropy.entropy().rows().sizes().vec(), seen);
}

TEST_P(SparsityOf, OfRowsThatSeeTooFewKeysIsZero) {
  Sparsity sparsity({.keys = 100});
  const auto hidden = forward(*model_, tokens(), layout_, All(), {}, {.penalty = &sparsity});
  EXPECT_EQ(sparsity.loss().item<double>(), 0);
  const auto [value, gradients] = differentiate(nll(hidden) + sparsity.loss());
  const auto [plain, expected] = differentiate(nll(forward(*model_, tokens(), layout_)));
  EXPECT_TRUE(torch::equal(value, plain));
  expect_equal(gradients, expected);
}

TEST(Sparsity, WarmsUp) {
  Sparsity sparsity({.weight = 0.4, .warmup = 4});
  std::vector<double> weights;
  for (int step = 0; step < 6; ++step) {
    weights.push_back(sparsity.weight());
    sparsity.step();
  }
  const std::vector<double> expected{0.1, 0.2, 0.3, 0.4, 0.4, 0.4};
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_DOUBLE_EQ(weights[i], expected[i]);
  sparsity.step_to(1);
  EXPECT_DOUBLE_EQ(sparsity.weight(), 0.2);
  EXPECT_EQ(Sparsity({.weight = 0.4}).weight(), 0.4);
}

TEST(Sparsity, IsNamed) {
  for (const auto* name : {"tail", "log", "hinge", "entropy"}) {
    EXPECT_EQ(name_of(penalty_named(name)), name);
  }
  EXPECT_EQ(message([] { penalty_named("dice"); }),
            "the penalty 'dice': one of tail, log, hinge, entropy is wanted");
}

TEST(Sparsity, ErrorsNameTheField) {
  const auto error = [](const SparsityOptions& options) {
    return message([&] { options.validate(); });
  };
  EXPECT_EQ(error({.keys = 0}),
            "motet::SparsityOptions: keys = 0; a row has a budget of at least 1");
  EXPECT_EQ(error({.share = 1.25}), "motet::SparsityOptions: share = 1.25; it is within (0, 1]");
  EXPECT_EQ(error({.floor = 1}), "motet::SparsityOptions: floor = 1; it is within [0, 1)");
  EXPECT_EQ(error({.weight = -1}),
            "motet::SparsityOptions: weight = -1; it is finite and not below 0");
  EXPECT_EQ(error({.warmup = -1}),
            "motet::SparsityOptions: warmup = -1; a number of steps is wanted");
  EXPECT_EQ(error({.layers = {-1}}), "motet::SparsityOptions: layers has -1; they count from 0");
  EXPECT_EQ(error({.heads = {2, 2}}), "motet::SparsityOptions: heads has 2 twice");
  EXPECT_EQ(error({.keys = 1, .share = 0.5}), "no error");
  EXPECT_EQ(message([] { Sparsity({.keys = 1}).loss(); }),
            "motet::Sparsity: no rows were measured; give it to motet::forward first");
}

TEST(Sparsity, ErrorsSayWhatTheModelHas) {
  const auto model = load_model(std::filesystem::path(MOTET_GOLDEN) / "llama_default");
  const auto tokens = torch::arange(9).unsqueeze(0);
  const auto layout = make_layout(0, {});
  Sparsity layers({.layers = {0, 2}}), heads({.keys = 2, .heads = {4}});
  EXPECT_EQ(message([&] { forward(*model, tokens, layout, All(), {}, {.penalty = &layers}); }),
            "motet::Sparsity: layers has 2, the model has 2 (they count from 0)");
  EXPECT_EQ(message([&] { forward(*model, tokens, layout, All(), {}, {.penalty = &heads}); }),
            "motet::Sparsity: heads has 4, the model has 4 (they count from 0)");
  class Mine : public All {
   public:
    std::string name() const override { return "mine"; }
  };
  const Mine mine;
  const All& cut = mine;
  EXPECT_EQ(
      message([&] { forward(*model, tokens, layout, cut); }),
      "motet::forward: the reading mine is of a class derived from the one that is known here; "
      "give it as a shared_ptr");
  EXPECT_EQ(message([&] { forward(*model, tokens, layout, std::shared_ptr<const Reading>()); }),
            "motet::forward: no reading is given");
}

}  // namespace
}  // namespace motet
