#include "motet/train/reading_fit.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "motet/files/safetensors.h"
#include "motet/model/encode.h"
#include "motet/model/forward.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/reading/registry.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

std::shared_ptr<Decoder> golden(const std::string& name,
                                torch::ScalarType dtype = torch::kFloat32) {
  auto model = load_model(std::filesystem::path(MOTET_GOLDEN) / name, {.dtype = torch::kFloat32});
  model->to(dtype);
  return model;
}

Tensor random_rows(int64_t rows, int64_t length) {
  torch::manual_seed(4);
  return torch::randint(40, {rows, length}, torch::kInt64);
}

std::vector<double> losses(ReadingFit& fit, int64_t steps) {
  std::vector<double> losses;
  for (int64_t i = 0; i < steps; ++i) losses.push_back(fit.step().loss);
  return losses;
}

/// The context is a constant in one, and a part of the packed row in the other.
TEST(ReadDifferentiable, HasTheGradientsOfForward) {
  for (const auto* name : {"llama_default", "gpt2_default", "mistral_window"}) {
    const auto model = golden(name, torch::kFloat64);
    for (auto& parameter : model->parameters()) {
      parameter.set_requires_grad(false);
    }
    const auto& config = model->config();
    const Cut cut(26, {.pieces = 3, .scored = 11, .prefix = {1, 2}});
    const auto tokens = cut.tokens(random_rows(1, 26));
    const std::vector<int64_t> ids(tokens.const_data_ptr<int64_t>(),
                                   tokens.const_data_ptr<int64_t>() + tokens.numel());
    const auto context = ids.begin() + cut.layout().tokens();
    torch::manual_seed(6);
    const auto made = [&](double least) {
      return (torch::rand({config.layers, config.heads}, torch::kFloat64) + least).requires_grad_();
    };
    const LearnedNumbers numbers{made(0.5), made(0), made(-0.5), made(1)};
    const std::vector<Tensor> inputs{numbers.exponent, numbers.discount, numbers.prefix,
                                     numbers.null};
    const auto encoded =
        encode(*model, {ids.begin(), context}, cut.layout(), {}, {.reach = cut.positions()});
    const auto rows = read_differentiable(*model, encoded, {context, ids.end()}, Learned(numbers));
    const auto on_rows = torch::randn_like(rows);
    const auto whole = forward(*model, tokens, cut.layout(), Learned(numbers));
    const auto same = whole[0].slice(0, cut.layout().tokens());
    EXPECT_LT(max_error(rows, same), 1e-10) << name;
    const auto found = torch::autograd::grad({rows}, inputs, {on_rows});
    const auto expected = torch::autograd::grad({same}, inputs, {on_rows});
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_GT(expected[i].abs().max().item<double>(), 1e-3);
      EXPECT_LT(max_error(found[i], expected[i]), 1e-9) << name << " " << i;
    }
    // And of differences.
    const double step = 1e-5;
    const auto at = [&](double shift) {
      LearnedNumbers moved{numbers.exponent.detach().clone(), numbers.discount.detach(),
                           numbers.prefix.detach(), numbers.null.detach()};
      moved.exponent[1][0] += shift;
      return (read_differentiable(*model, encoded, {context, ids.end()}, Learned(moved)) * on_rows)
          .sum()
          .item<double>();
    };
    EXPECT_NEAR(found[0][1][0].item<double>(), (at(step) - at(-step)) / (2 * step), 1e-6);
  }
}

/// Behind a window of 7 tokens the last rows see no piece at all.
TEST(ReadDifferentiable, FixedReadingsHaveGradientsBehindAWindow) {
  const auto model = golden("mistral_window", torch::kFloat64);
  const Cut cut(30, {.pieces = 3, .scored = 14, .prefix = {1, 2}});
  const auto tokens = cut.tokens(random_rows(1, 30));
  auto weight = model->parameters()[0];
  torch::manual_seed(3);
  const auto direction = torch::randn_like(weight);
  for (const auto* name : {"all", "soft:0.5", "sharpen:2", "discount:1", "temper:0.9:0.8",
                           "weigh:2:0.5", "null:0", "scale:ssmax"}) {
    SCOPED_TRACE(name);
    const std::shared_ptr<const Reading> reading = reading_named(name);
    const auto value = [&] { return forward(*model, tokens, cut.layout(), reading).sum(); };
    const auto gradient = torch::autograd::grad({value()}, {weight})[0];
    ASSERT_TRUE(gradient.isfinite().all().item<bool>());
    if (std::string(name).starts_with("soft")) continue;  // largest scores are constants
    const at::NoGradGuard no_grad;
    const double step = 1e-6;
    const auto moved = [&](double by) {
      weight.add_(direction, by);
      const auto found = value().item<double>();
      weight.sub_(direction, by);
      return found;
    };
    const auto slope = (moved(step) - moved(-step)) / (2 * step);
    EXPECT_NEAR((gradient * direction).sum().item<double>(), slope, 1e-4 * std::abs(slope));
  }
}

TEST(ReadingFit, LearnsWhereAWindowHidesAllPieces) {
  for (const auto* name : {"mistral_window", "qwen2_window", "gemma2_default", "gemma3_default"}) {
    for (const bool teach : {false, true}) {
      SCOPED_TRACE(name);
      ReadingFit fit(golden(name), random_rows(1, 40),
                     {.steps = 2, .pieces = {2, 4}, .scored = 20, .teach_full = teach});
      EXPECT_GT(fit.step().gradient_norm, 0);
      EXPECT_GT(fit.step().gradient_norm, 0);
    }
  }
}

TEST(ReadingFit, LearnsToReadARow) {
  for (const bool teach : {false, true}) {
    ReadingFit fit(
        golden("llama_default"), random_rows(1, 32),
        {.steps = 40, .learning_rate = 0.1, .pieces = {2, 4}, .scored = 8, .teach_full = teach});
    const auto seen = losses(fit, 40);
    EXPECT_LT(seen[38] + seen[39], seen[0] + seen[1] - 0.01) << teach;
    EXPECT_EQ(message([&] { fit.step(); }), "motet::ReadingFit: all 40 steps are done");
    EXPECT_GE(*std::min_element(seen.begin(), seen.end()), 0);
  }
}

/// A reading that is full reading itself has nothing to learn from it: one key in each piece would
/// be that, but for positions.
TEST(ReadingFit, TeachesTheDivergenceFromFullReading) {
  const auto rows = random_rows(1, 16);
  const auto model = golden("llama_default", torch::kFloat64);
  ReadingFit fit(model, rows,
                 {.steps = 1,
                  .pieces = {3},
                  .scored = 4,
                  .numbers = NumbersOf::kModel,
                  .exponent = 1,
                  .discount = 0,
                  .teach_full = true});
  const auto loss = fit.step().loss;
  const auto logits = [&](int64_t pieces) {
    const Cut cut(16, {.pieces = pieces, .scored = 4});
    const auto hidden = forward(*model, cut.tokens(rows), cut.layout());
    return model->logits(hidden[0].slice(0, cut.layout().tokens())).log_softmax(-1);
  };
  const at::NoGradGuard no_grad;
  const auto full = logits(1), parallel = logits(3);
  EXPECT_NEAR(loss, (full.exp() * (full - parallel)).sum(-1).mean().item<double>(), 1e-6);
}

TEST(ReadingFit, GoesOnFromACheckpointToTheSameBits) {
  const auto rows = random_rows(5, 24);
  const ReadingFitOptions options{.steps = 9,
                                  .learning_rate = 0.05,
                                  .warmup = 2,
                                  .seed = 5,
                                  .pieces = {2, 3},
                                  .scored = 6,
                                  .prefix = {1, 2},
                                  .prefix_weight = true,
                                  .null_set = true};
  ReadingFit whole(golden("llama_default"), rows, options);
  const auto expected = losses(whole, 9);
  ReadingFit first(golden("llama_default"), rows, options);
  losses(first, 4);
  const TemporaryDirectory directory;
  first.save(directory.path());
  ReadingFit second(golden("llama_default"), rows, options);
  losses(second, 1);
  second.load(directory.path());
  EXPECT_EQ(losses(second, 5), std::vector<double>(expected.begin() + 4, expected.end()));
  const auto mine = whole.reading().numbers(), again = second.reading().numbers();
  EXPECT_TRUE(torch::equal(mine.exponent, again.exponent));
  EXPECT_TRUE(torch::equal(mine.discount, again.discount));
  EXPECT_TRUE(torch::equal(mine.prefix, again.prefix));
  EXPECT_TRUE(torch::equal(mine.null, again.null));
  EXPECT_FALSE(torch::equal(mine.null, torch::zeros_like(mine.null)));
  EXPECT_FALSE(torch::equal(mine.prefix, torch::zeros_like(mine.prefix)));
  const auto load = [&](ReadingFitOptions other) {
    return message(
        [&] { ReadingFit(golden("llama_default"), rows, other).load(directory.path()); });
  };
  auto other = options;
  other.steps = 3;
  EXPECT_EQ(load(other), (directory / "training_state.json").string() + ": 4 steps are done of 3");
  other = options;
  other.numbers = NumbersOf::kLayers;
  EXPECT_EQ(load(other), (directory / "optimizer.safetensors").string() +
                             ": 'log_exponent' is [2, 4], this reading's [2, 1]");
}

TEST(Learned, OfAnotherModelIsRefused) {
  const auto model = golden("llama_default");
  const Learned learned({torch::ones({3, 4}), torch::zeros({1, 1})}, "mine");
  const std::string wrong =
      "mine: its numbers are [3, 4], of another model than this one of 2 layers with 4 heads";
  const auto context = encode(*model, {1, 2, 3, 4}, make_layout(0, {2, 2}));
  EXPECT_EQ(message([&] { Reader(*model, context, learned); }), wrong);
  EXPECT_EQ(message([&] {
              forward(*model, random_rows(1, 6), make_layout(0, {2, 2}), learned);
            }),
            wrong);
}

TEST(ReadingFit, ValidatesOverAllDegreesAndLeavesTheModelAlone) {
  const auto rows = random_rows(2, 24);
  const auto model = golden("llama_default");
  const auto before = model->parameters()[0].clone();
  ReadingFit both(model, rows, {.steps = 3, .pieces = {2, 4}, .scored = 6});
  ReadingFit two(model, rows, {.steps = 3, .pieces = {2}, .scored = 6});
  ReadingFit four(model, rows, {.steps = 3, .pieces = {4}, .scored = 6});
  EXPECT_NEAR(both.validate(rows), (two.validate(rows) + four.validate(rows)) / 2, 1e-6);
  losses(both, 3);
  EXPECT_TRUE(torch::equal(before, model->parameters()[0]));
  EXPECT_EQ(both.reading().numbers().exponent.sizes(), (std::vector<int64_t>{2, 4}));
  EXPECT_EQ(message([&] { both.validate(random_rows(1, 20)); }),
            "motet::ReadingFit: validation rows are [1, 20]; rows of 24 tokens are wanted, as in "
            "fitting");
}

TEST(ReadingFit, RefusesOptionsThatCannotBe) {
  const auto refuse = [](ReadingFitOptions options) {
    return message([&] { options.validate(); });
  };
  EXPECT_EQ(refuse({.steps = 0}), "steps 0: at least 1 is wanted");
  EXPECT_EQ(refuse({.pieces = {4, 1}}), "pieces 1: degrees of at least 2 are wanted");
  EXPECT_EQ(refuse({.pieces = {4, 8, 4}}), "pieces: the degree 4 is given twice");
  EXPECT_EQ(refuse({.exponent = 0}), "exponent 0: b within 0.001 and 1000 is wanted");
  EXPECT_EQ(refuse({.exponent = 1e300}), "exponent 1e+300: b within 0.001 and 1000 is wanted");
  EXPECT_EQ(refuse({.exponent = NAN}), "exponent nan: b within 0.001 and 1000 is wanted");
  EXPECT_EQ(refuse({.discount = 1e39}), "discount 1e+39: c within -1000 and 1000 is wanted");
  EXPECT_EQ(refuse({.prefix_weight = true}), "prefix_weight: there is no prefix to weigh");
  EXPECT_EQ(message([] { numbers_of_named("rows"); }),
            "numbers of 'rows': one of model, layers, heads is wanted");
}

}  // namespace
}  // namespace motet
