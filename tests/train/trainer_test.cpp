#include "motet/train/trainer.h"

#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/optim/adamw.h>
#include <torch/types.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "motet/eval/compare.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/model/forward.h"
#include "motet/model/weights.h"
#include "motet/train/checkpoints.h"
#include "motet/train/initial.h"
#include "motet/train/loss.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using nlohmann::json;

std::shared_ptr<Decoder> golden(const std::string& name,
                                torch::ScalarType dtype = torch::kFloat32) {
  auto model = load_model(std::filesystem::path(MOTET_GOLDEN) / name, {.dtype = torch::kFloat32});
  model->to(dtype);
  return model;
}

/// Rows of random tokens of the golden models' vocabulary.
torch::Tensor random_rows(int64_t rows, int64_t length) {
  torch::manual_seed(4);
  return torch::randint(40, {rows, length}, torch::kInt64);
}

std::vector<double> losses(Trainer& trainer, int64_t steps) {
  std::vector<double> losses;
  for (int64_t i = 0; i < steps; ++i) losses.push_back(trainer.step().loss);
  return losses;
}

/// Steps of Hugging Face models under PyTorch's AdamW: tests/golden/make_training_golden.py.
class TrainingGolden : public testing::TestWithParam<int> {
 protected:
  json golden_ = json::parse(read_file(std::filesystem::path(MOTET_GOLDEN) / "training.json"));
  json run_ = golden_["runs"][GetParam()];

  /// `tolerance` is relative.
  void expect_equal(torch::ScalarType dtype, double tolerance) const {
    std::vector<torch::Tensor> rows;
    for (const auto& row : golden_["rows"]) {
      rows.push_back(torch::tensor(row.get<std::vector<int64_t>>()));
    }
    const auto& given = golden_["options"];
    TrainOptions options{.steps = given["steps"],
                         .batch = static_cast<int64_t>(rows.size()),
                         .learning_rate = given["lr"],
                         .warmup = given["warmup"],
                         .decay = given["decay"],
                         .clip = given["clip"]};
    if (const auto& cut = run_["cut"]; !cut.is_null()) {
      options.cut = {.pieces = cut["pieces"],
                     .scored = cut["scored"],
                     .prefix = cut["prefix"],
                     .context = cut["loss"] == "all"};
    }
    Trainer trainer(golden(run_["model"], dtype), torch::stack(rows), options);
    for (const auto& expected : run_["steps"]) {
      const auto step = trainer.step();
      const auto loss = expected["loss"].get<double>(),
                 norm = expected["gradient_norm"].get<double>();
      EXPECT_NEAR(step.loss, loss, tolerance * loss) << "step " << step.step;
      EXPECT_NEAR(step.gradient_norm, norm, tolerance * norm) << "step " << step.step;
      EXPECT_DOUBLE_EQ(step.learning_rate, expected["lr"].get<double>());
    }
    const auto after = run_["after"].get<double>();
    EXPECT_NEAR(trainer.validate(torch::stack(rows)), after, tolerance * after);
  }
};

INSTANTIATE_TEST_SUITE_P(Runs, TrainingGolden, testing::Range(0, 6));

TEST_P(TrainingGolden, LossesAndGradientsEqualPyTorch) {
  const bool rotates = run_["model"] == "llama_default";  // by angles that are fp32 here
  expect_equal(torch::kFloat64, rotates ? 1e-5 : 1e-10);
}

TEST_P(TrainingGolden, SinglePrecisionFollows) {
  expect_equal(torch::kFloat32, 1e-4);  // steps divide by sqrt(v): they magnify the last digits
}

TEST(Cut, ScoresWhatCompareScores) {
  const auto model = golden("llama_default");
  const auto rows = random_rows(1, 30);
  const std::vector<int64_t> prefix{7, 8, 9},
      tokens(rows.data_ptr<int64_t>(), rows.data_ptr<int64_t>() + 30);
  CompareOptions compare{.length = 30, .scored = 9, .segments = 1, .pieces = {1, 4}};
  compare.prefix = prefix;
  const auto plan = plan_compare(model->config(), compare);
  int64_t compared = 0;
  for (const auto& row : compare_segment(*model, tokens, compare, plan, 0)) {
    if (row.reading != "all") continue;
    CutOptions options{.pieces = row.pieces, .scored = 9};
    if (row.prefix_tokens > 0) options.prefix = prefix;
    const Cut cut(30, options);
    EXPECT_EQ(cut.predicted(), 9);
    const auto hidden = forward(*model, cut.tokens(rows), cut.layout());
    const auto loss = next_token_loss(*model, hidden, cut.targets(rows)).item<double>();
    EXPECT_NEAR(loss, row.nll, 1e-5) << row.mode;  // fp32, and rows that merge in another order
    ++compared;
  }
  EXPECT_EQ(compared, 3);  // full, parallel, sink
}

TEST(NextTokenLoss, IsThatOfAllLogitsAtOnce) {
  for (const auto* name : {"llama_default", "gpt2_untied"}) {
    const auto model = golden(name, torch::kFloat64);
    const auto targets = random_rows(3, 700);  // more than have their logits at a time
    targets.slice(1, 0, 5).fill_(Cut::kNone);
    targets[1].slice(0, 100, 300).fill_(Cut::kNone);
    const auto hidden =
        torch::randn({3, 700, model->config().width}, torch::kFloat64).requires_grad_();
    const auto all = at::cross_entropy_loss(model->logits(hidden).flatten(0, 1), targets.flatten(),
                                            {}, at::Reduction::Mean, Cut::kNone);
    const auto loss = next_token_loss(*model, hidden, targets);
    EXPECT_LT(reference::max_error(loss, all), 1e-12);
    const auto expected = torch::autograd::grad({3 * all}, {hidden, model->head()});
    const auto found = torch::autograd::grad({3 * loss}, {hidden, model->head()});
    EXPECT_LT(reference::max_error(found[0], expected[0]), 1e-15) << name;
    EXPECT_LT(reference::max_error(found[1], expected[1]), 1e-14) << name;
    const at::NoGradGuard no_grad;
    EXPECT_TRUE(torch::equal(next_token_loss(*model, hidden, targets), loss));
  }
}

TEST(DivergenceLoss, IsThatOfAllLogitsAtOnce) {
  const auto model = golden("gpt2_untied", torch::kFloat64);
  torch::manual_seed(2);
  const auto rows = [&] { return torch::randn({1200, model->config().width}, torch::kFloat64); };
  const auto teacher = rows(), hidden = rows().requires_grad_();  // more than at a time
  const auto p = model->logits(teacher).softmax(-1).detach();
  const auto all = (p * (p.log() - model->logits(hidden).log_softmax(-1))).sum(-1).mean();
  const auto loss = divergence_loss(*model, teacher, hidden);
  EXPECT_LT(reference::max_error(loss, all), 1e-12);
  const auto expected = torch::autograd::grad({3 * all}, {hidden, model->head()});
  const auto found = torch::autograd::grad({3 * loss}, {hidden, model->head()});
  EXPECT_LT(reference::max_error(found[0], expected[0]), 1e-15);
  EXPECT_LT(reference::max_error(found[1], expected[1]), 1e-14);
  EXPECT_EQ(divergence_loss(*model, teacher, teacher).item<double>(), 0);
  EXPECT_EQ(message([&] { divergence_loss(*model, teacher.slice(0, 1), hidden); }),
            "motet::divergence_loss: rows of " + c10::str(hidden.sizes()) + ", the teacher's of " +
                c10::str(teacher.slice(0, 1).sizes()));
}

TEST(NextTokenLoss, LeavesAFrozenHeadAlone) {
  const auto model = golden("gpt2_untied", torch::kFloat64);
  const auto targets = random_rows(1, 6);
  const auto hidden = torch::randn({1, 6, model->config().width}, torch::kFloat64).requires_grad_();
  const auto expected =
      torch::autograd::grad({next_token_loss(*model, hidden, targets)}, {hidden})[0];
  for (auto& parameter : model->parameters()) parameter.requires_grad_(false);
  const auto loss = next_token_loss(*model, hidden, targets);
  const auto found = torch::autograd::grad({loss}, {hidden}, {}, /*retain_graph=*/true,
                                           /*create_graph=*/true)[0];
  EXPECT_TRUE(torch::equal(found, expected));
  EXPECT_EQ(
      message([&] { found.square().sum().backward(); }),
      "motet::next_token_loss: differentiable once; a second derivative (create_graph) is not "
      "known");
}

TEST(Cut, PredictsWhatItSays) {
  const auto row = torch::arange(10, 20).unsqueeze(0);
  const auto list = [](const torch::Tensor& x) {
    return std::vector<int64_t>(x.data_ptr<int64_t>(), x.data_ptr<int64_t>() + x.numel());
  };
  const Cut plain(10);
  EXPECT_EQ(list(plain.tokens(row)), (std::vector<int64_t>{10, 11, 12, 13, 14, 15, 16, 17, 18}));
  EXPECT_EQ(list(plain.targets(row)), (std::vector<int64_t>{11, 12, 13, 14, 15, 16, 17, 18, 19}));
  EXPECT_EQ(plain.positions(), 9);
  const Cut all(10, {.pieces = 2, .scored = 3, .prefix = {1, 2}, .context = true});
  EXPECT_EQ(list(all.tokens(row)),
            (std::vector<int64_t>{1, 2, 10, 11, 12, 13, 14, 15, 16, 17, 18}));
  const auto none = Cut::kNone;
  EXPECT_EQ(list(all.targets(row)),
            (std::vector<int64_t>{none, none, 11, 12, none, 14, 15, none, 17, 18, 19}));
  EXPECT_EQ(all.predicted(), 7);
  EXPECT_EQ(all.positions(), 2 + 3 + 3);
  const Cut scored(10, {.pieces = 2, .scored = 3});
  EXPECT_EQ(list(scored.targets(row)),
            (std::vector<int64_t>{none, none, none, none, none, none, 17, 18, 19}));
}

TEST(Cut, RefusesWhatCannotBe) {
  EXPECT_EQ(
      message([] { Cut(10, {.scored = 9}); }),
      "motet::Cut: rows of 10 tokens, 9 of them scored, leave no context; rows of at least 11 "
      "tokens are wanted");
  EXPECT_EQ(message([] { Cut(10, {.scored = 0}); }),
            "motet::Cut: 0 scored tokens; at least 1 is wanted");
  EXPECT_EQ(message([] { Cut(1); }), "motet::Cut: rows of 1 tokens have none that follows another");
  EXPECT_NE(message([] { Cut(10, {.pieces = 5, .scored = 3}); }), "no error");
}

TEST(ShuffledRows, HaveEveryRowOnceAnEpochInAnOrderOfItsOwn) {
  const auto rows = torch::arange(14).view({7, 2});
  ShuffledRows shuffled(rows, 3);
  const auto epoch = [&](int64_t number) { return shuffled.take(7 * number, 7); };
  for (int64_t number = 0; number < 3; ++number) {
    EXPECT_TRUE(torch::equal(std::get<0>(epoch(number).sort(0)), rows));
  }
  EXPECT_FALSE(torch::equal(epoch(0), epoch(1)));
  EXPECT_FALSE(torch::equal(epoch(0), ShuffledRows(rows, 4).take(0, 7)));
  // Any part of the sequence comes out the same, whatever was taken before.
  const auto sequence = torch::cat({epoch(0), epoch(1)});
  EXPECT_TRUE(torch::equal(shuffled.take(5, 4), sequence.slice(0, 5, 9)));
  EXPECT_TRUE(torch::equal(ShuffledRows(rows, 3).take(9, 3), sequence.slice(0, 9, 12)));
}

TEST(TextRows, CutTheTextAndDropItsTail) {
  EXPECT_TRUE(torch::equal(text_rows({1, 2, 3, 4, 5}, 2), torch::tensor({{1, 2}, {3, 4}})));
  EXPECT_EQ(message([] {
              text_rows({1, 2, 3}, 4);
            }),
            "motet::text_rows: 3 tokens do not fill a row of 4; choose shorter rows or a longer "
            "text");
}

TEST(CosineSchedule, RisesAndFalls) {
  EXPECT_DOUBLE_EQ(cosine_schedule(1, 10, 3), 0.25);
  EXPECT_DOUBLE_EQ(cosine_schedule(3, 10, 3), 0.75);
  EXPECT_DOUBLE_EQ(cosine_schedule(4, 10, 3), 1);
  EXPECT_DOUBLE_EQ(cosine_schedule(1, 2, 0), 1);
  EXPECT_NEAR(cosine_schedule(2, 2, 0), 0.5, 1e-15);  // cos(pi / 2) is not quite 0
  EXPECT_EQ(message([] { cosine_schedule(11, 10, 3); }),
            "motet::cosine_schedule: step 11 of 10, 3 of them warm-up");
}

TEST(Trainer, LearnsARowByHeart) {
  Trainer trainer(golden("llama_default"), random_rows(1, 16),
                  {.steps = 60, .learning_rate = 0.02, .warmup = 5, .decay = 0});
  const auto seen = losses(trainer, 60);
  EXPECT_GT(seen.front(), 3);
  EXPECT_LT(seen.back(), 0.05);
  EXPECT_EQ(message([&] { trainer.step(); }), "motet::Trainer: all 60 steps are done");
}

TEST(Trainer, AccumulatedPassesAreOneBatch) {
  const auto rows = random_rows(12, 10);
  const auto train = [&](int64_t batch, int64_t accumulate) {
    Trainer trainer(golden("gpt2_default", torch::kFloat64), rows,
                    {.steps = 6,
                     .batch = batch,
                     .accumulate = accumulate,
                     .learning_rate = 0.01,
                     .cut = CutOptions{.pieces = 2, .scored = 3}});
    return losses(trainer, 6);
  };
  const auto whole = train(6, 1), parts = train(2, 3);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_NEAR(whole[i], parts[i], 1e-9);  // float64, sums in another order
  }
}

TEST(Trainer, GoesOnFromACheckpointToTheSameBits) {
  const auto rows = random_rows(5, 12);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const TrainOptions options{.steps = 9,
                               .batch = 2,
                               .learning_rate = 0.01,
                               .warmup = 2,
                               .seed = 5,
                               .sparsity = SparsityOptions{.keys = 2, .warmup = 5},
                               .dtype = dtype};
    Trainer whole(golden("llama_default"), rows, options);
    const auto expected = losses(whole, 9);
    Trainer first(golden("llama_default"), rows, options);
    losses(first, 4);
    TemporaryDirectory directory;
    first.save(directory.path());
    Trainer second(golden("llama_default"), rows, options);
    losses(second, 1);  // whatever it did before is forgotten
    second.load(directory.path());
    EXPECT_EQ(second.steps_done(), 4);
    const auto rest = losses(second, 5);
    EXPECT_EQ(rest, std::vector<double>(expected.begin() + 4, expected.end()));
    for (std::size_t i = 0; i < whole.model().parameters().size(); ++i) {
      EXPECT_TRUE(torch::equal(whole.model().parameters()[i], second.model().parameters()[i]));
    }
  }
}

TEST(Trainer, GoesOnInFloat64) {
  const auto rows = random_rows(2, 8);
  const TemporaryDirectory directory;
  Trainer first(golden("llama_default", torch::kFloat64), rows, {.steps = 5});
  const auto expected = losses(first, 2);
  Trainer begun(golden("llama_default", torch::kFloat64), rows, {.steps = 5});
  losses(begun, 1);
  begun.save(directory.path());
  Trainer second(golden("llama_default", torch::kFloat64), rows, {.steps = 5});
  second.load(directory.path());
  EXPECT_EQ(losses(second, 1)[0], expected[1]);
  EXPECT_EQ(second.model().dtype(), torch::kFloat64);
}

TEST(Trainer, RefusesACheckpointOfAnotherRun) {
  const auto rows = random_rows(2, 8);
  TemporaryDirectory directory;
  const auto where = directory.path().string();
  Trainer trainer(golden("llama_default"), rows, {.steps = 5});
  losses(trainer, 3);
  trainer.save(directory.path());
  const auto load = [&](const std::string& model, const TrainOptions& options) {
    return message([&] { Trainer(golden(model), rows, options).load(directory.path()); });
  };
  EXPECT_EQ(load("llama_default", {.steps = 2}),
            where + "/training_state.json: 3 steps are done of 2");
  EXPECT_EQ(load("llama_default", {.steps = 5, .seed = 1}),
            where + "/training_state.json: is of the seed 0, this run of 1");
  EXPECT_EQ(load("llama_multi_head", {.steps = 5}),
            where + ": is of another model: 'layers.0.key.weight' differs");
}

TEST(Trainer, SmallStepsAddUpInLowPrecision) {
  // bf16 has 8 bits: a step of 1e-4 changes no parameter near 1, but a hundred of them must.
  const auto rows = random_rows(1, 16);
  const TrainOptions options{.steps = 100, .learning_rate = 1e-4, .dtype = torch::kBFloat16};
  const auto model = golden("llama_default");
  Trainer trainer(model, rows, options);
  const auto before = trainer.validate(rows);
  const auto narrow = losses(trainer, 100);
  EXPECT_EQ(model->dtype(), torch::kFloat32);
  EXPECT_EQ(narrow.front(), before);
  auto single = options;
  single.dtype = torch::kFloat32;
  Trainer wide(golden("llama_default"), rows, single);
  const auto fp32 = losses(wide, 100);
  const auto fall = fp32.front() - fp32.back();
  EXPECT_GT(fall, 0.1);
  EXPECT_NEAR(narrow.front() - narrow.back(), fall, 0.2 * fall);  // bf16: 2 to 3 digits
}

TEST(Trainer, DecaysWeightsAndNotNormsOrBiases) {
  const auto model = golden("gpt2_default");
  const auto optimizer = adamw(*model, torch::optim::AdamWOptions(0.1).weight_decay(0.3));
  ASSERT_EQ(optimizer.param_groups().size(), 2u);
  for (const auto& group : optimizer.param_groups()) {
    const auto decay =
        static_cast<const torch::optim::AdamWOptions&>(group.options()).weight_decay();
    EXPECT_FALSE(group.params().empty());
    for (const auto& parameter : group.params()) {
      EXPECT_EQ(decay, parameter.dim() == 1 ? 0 : 0.3);
    }
  }
}

TEST(AdamW, StepsAsLibTorchsOwnDoes) {
  torch::manual_seed(3);
  for (const auto& [dtype, amsgrad] :
       {std::pair{torch::kFloat32, false}, {torch::kFloat64, false}, {torch::kFloat32, true}}) {
    std::vector<torch::Tensor> ours, theirs;
    for (const auto& sizes : std::vector<std::vector<int64_t>>{{37, 65}, {1}, {3, 5, 7}, {9}}) {
      ours.push_back(torch::randn(sizes, dtype).set_requires_grad(true));
      theirs.push_back(ours.back().detach().clone().set_requires_grad(true));
    }
    const auto options =
        torch::optim::AdamWOptions(0.05).betas({0.8, 0.95}).weight_decay(0.2).amsgrad(amsgrad);
    AdamW one(ours, options);
    torch::optim::AdamW other(theirs, options);
    for (int64_t step = 0; step < 6; ++step) {
      const auto with = step < 2 ? ours.size() - 1 : ours.size();  // the last one joins later
      for (std::size_t i = 0; i < with; ++i) {
        ours[i].mutable_grad() = torch::randn_like(ours[i]);
        theirs[i].mutable_grad() = ours[i].grad().clone();
      }
      one.step();
      other.step();
    }
    const auto tolerance = dtype == torch::kFloat32 ? 1e-6 : 1e-12;
    for (std::size_t i = 0; i < ours.size(); ++i) {
      EXPECT_TRUE(torch::allclose(ours[i], theirs[i], tolerance, tolerance)) << i;
    }
    const auto& state = static_cast<const torch::optim::AdamWParamState&>(
        *one.state().at(ours.back().unsafeGetTensorImpl()));
    EXPECT_EQ(state.step(), 4);
  }
}

TEST(AdamW, CallsAClosureWithGradients) {
  auto weight = torch::full({1}, 3.0f).set_requires_grad(true);
  AdamW optimizer(std::vector<torch::Tensor>{weight},
                  torch::optim::AdamWOptions(0.5).weight_decay(0));
  const auto loss = optimizer.step([&] {
    auto square = weight.square().sum();
    square.backward();
    return square;
  });
  EXPECT_EQ(loss.item<float>(), 9);
  EXPECT_NEAR(weight.item<float>(), 2.5, 1e-5);  // a first step is as long as the learning rate
}

TEST(Trainer, StopsBeforeWhatIsNotFinite) {
  const auto model = golden("llama_default");
  const auto rows = random_rows(1, 8);
  Trainer trainer(model, rows, {.steps = 5});
  trainer.step();
  {
    const torch::NoGradGuard no_grad;
    model->parameters()[0].fill_(std::numeric_limits<float>::quiet_NaN());
  }
  const auto before = model->parameters()[1].clone();
  const auto expect_stop = [](const std::function<void()>& call, const std::string& what) {
    try {
      call();
      ADD_FAILURE() << "no error";
    } catch (const NotFinite& error) {
      EXPECT_EQ(error.what(), what + "; a lower learning rate or a longer warm-up may help");
    }
  };
  expect_stop([&] { trainer.step(); }, "step 2: the loss is nan");
  expect_stop([&] { trainer.validate(rows); }, "step 1: the validation loss is nan");
  const auto name = model->named_parameters()[0].key();
  expect_stop([&] { trainer.check(); }, "step 1: its weights '" + name + "' are not finite");
  EXPECT_TRUE(torch::equal(model->parameters()[1], before));
  EXPECT_EQ(trainer.steps_done(), 1);
  {
    const torch::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) {
      parameter.fill_(parameter.dim() == 1 ? 1e38F
                                           : 1.0F);  // finite, but what comes of them is not
    }
  }
  expect_stop([&] { trainer.check(); }, "step 1: the loss of its weights is nan");
}

TEST(Trainer, RefusesOptionsThatCannotBe) {
  const auto validate = [](const TrainOptions& options) {
    return message([&] { options.validate(); });
  };
  EXPECT_EQ(validate({.steps = 0}), "steps 0: at least 1 is wanted");
  EXPECT_EQ(validate({.batch = 0}), "batch 0: at least 1 row is wanted");
  EXPECT_EQ(validate({.batch = INT64_MAX}),
            "batch 9223372036854775807: at most 1048576 rows; accumulate puts passes together");
  EXPECT_EQ(validate({.accumulate = 0}), "accumulate 0: at least 1 pass is wanted");
  EXPECT_EQ(validate({.learning_rate = 0}), "learning_rate 0: a number above 0 is wanted");
  EXPECT_EQ(validate({.steps = 5, .warmup = 5}), "warmup 5: 0 to 4 of the 5 steps are wanted");
  EXPECT_EQ(validate({.decay = -1}), "decay -1: 0 or more is wanted");
  EXPECT_EQ(validate({.clip = std::numeric_limits<double>::quiet_NaN()}),
            "clip nan: 0 or more is wanted");
  EXPECT_EQ(message([] { Trainer(golden("gpt2_default"), random_rows(1, 60), {}); }),
            "motet::Trainer: rows of 60 tokens need 59 positions, the model has 44; choose shorter "
            "rows or more pieces");
  const auto sparse = [](int64_t length, KeyBudget budget) {
    return message([&] {
      Trainer(
          golden("llama_default"), random_rows(1, length),
          {.sparsity = SparsityOptions{
               .keys = budget.keys, .share = budget.share, .counts_first = budget.counts_first}});
    });
  };
  EXPECT_EQ(sparse(8, {.keys = 7}),
            "motet::Trainer: the penalty reaches no row: none sees more keys than its budget of 7; "
            "choose a smaller budget, or rows of more than 8 tokens");
  EXPECT_EQ(sparse(8, {.keys = 16, .share = 1.0}),
            "motet::Trainer: the penalty reaches no row: none sees more keys than its budget of a "
            "share of 1; choose a smaller budget, or rows of more than 8 tokens");
  EXPECT_EQ(sparse(8, {.keys = 6}), "no error");
  EXPECT_EQ(sparse(8, {.keys = 6, .counts_first = false}).find("motet::Trainer: the penalty"), 0u);
  auto half = load_model(std::filesystem::path(MOTET_GOLDEN) / "llama_bfloat16");
  EXPECT_EQ(message([&] { Trainer(half, random_rows(1, 8), {}); }),
            "motet::Trainer: the model is of BFloat16; parameters are trained in fp32 "
            "(TrainOptions::dtype is that of the passes)");
}

TEST(InitialModel, IsAsHuggingFaceBeginsOne) {
  // Deviations of samples of n differ from the true one by about 1 / sqrt(2 n) of it.
  for (const auto* name : {"gpt2", "llama"}) {
    const bool gpt2 = std::string(name) == "gpt2";
    const json source = gpt2
                            ? json{{"model_type", "gpt2"}, {"vocab_size", 500}, {"n_embd", 64},
                                   {"n_layer", 8},         {"n_head", 4},       {"n_positions", 64}}
                            : json{{"model_type", "llama"},    {"vocab_size", 500},
                                   {"hidden_size", 64},        {"num_hidden_layers", 8},
                                   {"num_attention_heads", 4}, {"intermediate_size", 256},
                                   {"initializer_range", 0.05}};
    TemporaryDirectory directory;
    write_file(directory / "model.json", source.dump());
    const auto config = load_config(directory / "model.json");
    const auto model = initial_model(config, 3);
    const double deviation = gpt2 ? 0.02 : 0.05;
    for (const auto& item : model->named_parameters()) {
      const auto& x = item.value();
      const auto norm = item.key().find("norm") != std::string::npos;
      if (x.dim() == 1) {
        const bool ones = norm && item.key().ends_with("weight");
        EXPECT_TRUE(torch::equal(x, ones ? torch::ones_like(x) : torch::zeros_like(x)))
            << item.key();
        continue;
      }
      const bool residual =
          gpt2 && (item.key().ends_with("out.weight") || item.key().ends_with("down.weight"));
      const auto expected = residual ? deviation / 4 : deviation;  // sqrt(2 * 8)
      const auto samples = static_cast<double>(x.numel());
      EXPECT_NEAR(x.std().item<double>(), expected, 5 * expected / std::sqrt(2 * samples))
          << item.key();
      EXPECT_NEAR(x.mean().item<double>(), 0, 5 * expected / std::sqrt(samples)) << item.key();
    }
    const auto again = initial_model(config, 3), other = initial_model(config, 4);
    EXPECT_TRUE(torch::equal(model->parameters()[0], again->parameters()[0]));
    EXPECT_FALSE(torch::equal(model->parameters()[0], other->parameters()[0]));
  }
}

TEST(Checkpoints, KeepTheLastOnesAndOnlyWholeOnes) {
  TemporaryDirectory directory;
  const Checkpoints checkpoints(directory / "run");
  EXPECT_FALSE(checkpoints.last());
  const auto write = [&](int64_t step) {
    checkpoints.save(step, 10, [&](const std::filesystem::path& path) {
      EXPECT_TRUE(std::filesystem::is_empty(path));
      write_file(path / "step", std::to_string(step));
    });
  };
  for (const int64_t step : {5, 10, 15, 15}) write(step);
  EXPECT_EQ(checkpoints.last(), 15);
  EXPECT_EQ(read_file(checkpoints.path(15) / "step"), "15");
  const auto names = [&] {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(directory / "run")) {
      names.insert(entry.path().filename());
    }
    return names;
  };
  const std::set<std::string> both{"checkpoint-10", "checkpoint-15"};
  EXPECT_EQ(names(), both);
  EXPECT_EQ(message([&] {
              checkpoints.save(20, 1000, [&](const std::filesystem::path& path) {
                write_file(path / "half", "x");
                fail("the disk broke");
              });
            }),
            "the disk broke; checkpoint-20 takes 1000 bytes");
  EXPECT_EQ(names(), both);
  std::filesystem::create_directory(directory / "run" / ".partial-checkpoint");  // a kill's
  std::filesystem::create_directory(directory / "run" / "checkpoint-best");      // the user's
  EXPECT_EQ(Checkpoints(directory / "run").last(), 15);
  checkpoints.clean();
  EXPECT_EQ(names(), (std::set<std::string>{"checkpoint-10", "checkpoint-15", "checkpoint-best"}));
  checkpoints.remove_all();
  EXPECT_EQ(names(), std::set<std::string>{"checkpoint-best"});
}

TEST(Checkpoints, SayHowMuchSpaceIsMissing) {
  TemporaryDirectory directory;
  const Checkpoints checkpoints(directory.path());
  const uint64_t bytes = uint64_t{1} << 60;
  const auto error = message([&] {
    checkpoints.save(1, bytes, [](const std::filesystem::path&) { FAIL() << "was begun"; });
  });
  const auto where = directory.path().string() +
                     ": the disk is too full: 1152921504606846976 bytes "
                     "are wanted, ";
  ASSERT_TRUE(error.starts_with(where)) << error;
  const auto rest = error.substr(where.size());
  const auto free = std::stoull(rest);
  EXPECT_EQ(rest, std::to_string(free) + " are free: " + std::to_string(bytes - free) +
                      " bytes are missing");
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(StepLog, HasEachStepOnce) {
  TemporaryDirectory directory;
  const auto path = directory / "log.jsonl";
  {
    StepLog log(path, 0);
    for (int step = 1; step <= 5; ++step) log.add({{"step", step}, {"loss", 0.1 * step}});
    log.flush();
  }
  {
    const auto text = read_file(path);
    write_file(path, text + "{\"step\": 6, \"lo");  // killed while it wrote
  }
  StepLog log(path, 3);
  EXPECT_EQ(log.lines().size(), 3u);
  log.add({{"step", 4}});
  EXPECT_EQ(read_file(path),
            "{\"step\":1,\"loss\":0.1}\n{\"step\":2,\"loss\":0.2}\n"
            "{\"step\":3,\"loss\":0.30000000000000004}\n{\"step\":4}\n");
  write_file(path, "not JSON\n");
  EXPECT_EQ(message([&] { StepLog(path, 3); }),
            path.string() + ": 'not JSON' is not a line of a log");
}

}  // namespace
}  // namespace motet
