#include "motet/heads/calibration.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <cmath>
#include <filesystem>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/files/atomic.h"
#include "motet/heads/judge.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/reading/adaptive.h"
#include "motet/reading/read_rows.h"
#include "motet/reading/reading.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr Window kWindow{.first = 2, .last = 3};

Config config_of(int64_t layers, int64_t heads, int64_t kv_heads) {
  Config config;
  config.layers = layers;
  config.heads = heads;
  config.kv_heads = kv_heads;
  return config;
}

HeadCalibration made() {
  const Margins margins{torch::tensor({{{3.0, -3.0, 1.0, 1.0}, {-1.0, -1.0, -1.0, 5.0}},
                                       {{9.0, 9.0, 9.0, 9.0}, {0.5, 0.2, 9.0, 9.0}}}),
                        torch::zeros({2, 2, 4})};
  auto calibration = calibrate(margins, kWindow, {0.5, 0.7});
  calibration.text = "a text";
  calibration.hash = "12ab";
  calibration.tokens = 99;
  return calibration;
}

TEST(Calibration, RanksHeadsByHowOftenTheyAreLong) {
  const auto calibration = made();
  // tau = 0.5: a margin below 0; tau = 0.7: below 0.847.
  EXPECT_LT(max_error(calibration.long_share[0], torch::tensor({{0.25, 0.75}, {0.0, 0.0}})), 1e-15);
  EXPECT_LT(max_error(calibration.long_share[1], torch::tensor({{0.25, 0.75}, {0.0, 0.5}})), 1e-15);
  const auto is = [](const Tensor& pattern, const Tensor& expected) {
    return torch::equal(pattern, expected.to(torch::kBool));
  };
  EXPECT_TRUE(is(calibration.pattern(0.7, 0.75), torch::tensor({{0, 1}, {0, 0}})));
  EXPECT_TRUE(is(calibration.pattern(0.7, 0.5), torch::tensor({{0, 1}, {0, 1}})));
  EXPECT_TRUE(is(calibration.pattern(0.5, 0.25), torch::tensor({{1, 1}, {1, 0}})));
  EXPECT_TRUE(is(calibration.pattern(0.5, 1), torch::zeros({2, 2})));
  EXPECT_EQ(
      message([&] { calibration.pattern(0.9, 0.5); }),
      "motet::HeadCalibration: there is none for tau = 0.9; it was made for 0.5, 0.7; use one "
      "of these, or calibrate on a text");
}

TEST(Calibration, FileRoundTrips) {
  const TemporaryDirectory directory;
  const auto calibration = made();
  save_calibration(calibration, directory / "static.json");
  const auto read = load_calibration(directory / "static.json");
  EXPECT_EQ(read.text, "a text");
  EXPECT_EQ(read.hash, "12ab");
  EXPECT_EQ(read.tokens, 99);
  EXPECT_EQ(read.window, kWindow);
  EXPECT_EQ(read.tau, calibration.tau);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_TRUE(torch::equal(read.long_share[i], calibration.long_share[i]));
  }
  read.check(config_of(2, 2, 1), kWindow);
  EXPECT_EQ(message([&] { read.check(config_of(3, 2, 1), kWindow); }),
            "motet::HeadCalibration: it was made for 2 layers of 2 heads, the model has 3 of 2; "
            "calibrate on a text");
  EXPECT_EQ(message([&] { read.check(config_of(2, 2, 1), {}); }),
            "motet::HeadCalibration: it was made with a window of 2 + 3 keys, this one is of 16 + "
            "128; calibrate on a text");
  write_file(directory / "other.json", "{}");
  EXPECT_EQ(message([&] { load_calibration(directory / "other.json"); }),
            (directory / "other.json").string() + ": is not a calibration of heads");
}

TEST(Calibration, ChoosesTauForAShare) {
  torch::manual_seed(2);
  const auto margins = torch::randn({3, 4, 50}, torch::kFloat64) * 3;
  for (const auto share : {0.1, 0.5, 0.8}) {
    const auto tau = tau_for_share(margins, share);
    EXPECT_NEAR((margins >= log_odds(tau)).to(torch::kFloat64).mean().item<double>(), share, 1e-9);
  }
  EXPECT_EQ(tau_for_share(margins, 0), 1);
  EXPECT_EQ(tau_for_share(margins, 1), 0);
  EXPECT_EQ(message([&] { tau_for_share(margins, 1.5); }),
            "motet: a share of 1.5 local decisions; it is within [0, 1]");
}

TEST(RandomPattern, IsNestedAndOfItsSeed) {
  const auto config = config_of(6, 5, 5);
  const auto few = random_pattern(config, 0.8, 3), many = random_pattern(config, 0.4, 3);
  EXPECT_EQ(few.sum().item<int64_t>(), 6);
  EXPECT_EQ(many.sum().item<int64_t>(), 18);
  EXPECT_TRUE(torch::equal(few.logical_and(many), few));
  EXPECT_TRUE(torch::equal(random_pattern(config, 0.8, 3), few));
  EXPECT_FALSE(torch::equal(random_pattern(config, 0.8, 4), few));
}

TEST(Pattern, OfEveryFormat) {
  const TemporaryDirectory directory;
  const auto config = config_of(2, 4, 2);
  const auto load = [&](const std::string& name, const std::string& text) {
    write_file(directory / name, text);
    return load_pattern(directory / name, config);
  };
  const auto expected = torch::tensor({{1, 1, 0, 0}, {0, 0, 1, 1}}).to(torch::kBool);
  EXPECT_TRUE(torch::equal(
      load("a.json", R"({"long": [[true, true, false, false], [false, false, true, true]]})"),
      expected));
  EXPECT_TRUE(torch::equal(load("b.json", R"({"gates": [[0.9, 0.2], [0.49, 0.5]]})"), expected));
  EXPECT_TRUE(torch::equal(load("c.tsv", "9.5e-01\t0.1\n0.0\t1.0\n"), expected));
  const auto path = (directory / "d.tsv").string();
  EXPECT_EQ(message([&] { load("d.tsv", "1\t1\t1\n0\t0\t0\n"); }),
            path + ": has 2 layers of 3 heads, the model has 2 of 4 heads (2 of keys and values)");
  EXPECT_EQ(message([&] { load("d.tsv", "1\t1\n0\n"); }),
            path + ": layer 1 has 1 heads, layer 0 has 2");
  EXPECT_EQ(message([&] { load("d.tsv", "1\tx\n"); }), path + ": line 1: 'x' is not a number");
  EXPECT_EQ(message([&] { load("d.tsv", "\n"); }), path + ": holds no heads");
}

TEST(Judge, HoldsDecisionsAgainstTheTruth) {
  const auto model = golden("llama_default", torch::kFloat64);
  const auto context = encode(*model, some_tokens(30), make_layout(0, {30}));
  const Adaptive oracle({.tau = 0.6, .window = kWindow, .mass = BulkMass::kTrue});
  const Adaptive adaptive({.tau = 0.6, .window = kWindow});
  for (const auto* reading : {&oracle, &adaptive}) {
    HeadJudge judge(context);
    Reader(*model, context, *reading, {&judge}).read(some_tokens(9));
    const auto local = judge.local().rows() > 0;
    const bool is_oracle = reading == &oracle;
    const auto margin = is_oracle ? judge.margin() : judge.estimated_margin();
    EXPECT_TRUE(torch::equal(local, margin >= log_odds(0.6))) << reading->name();
    EXPECT_GT(local.sum().item<int64_t>(), 0);
    EXPECT_LT(local.sum().item<int64_t>(), local.numel());
  }
  HeadJudge judge(context);
  EXPECT_EQ(message([&] { Reader(*model, context, All(), {&judge}).read(some_tokens(2)); }),
            "motet::HeadJudge: the reading decides about no bulk");
  struct Halved : Adaptive {
    using Adaptive::Adaptive;
    KeySets prepare(KeySets sets, const PieceSets& meaning) const override {
      return sets.with_factor(meaning.piece(0), 0.5);
    }
  };
  const Halved halved({.tau = 0.6, .window = kWindow, .mass = BulkMass::kTrue});
  EXPECT_EQ(
      message([&] { Reader(*model, context, halved, {&judge}).read(some_tokens(9)); }),
      "motet::HeadJudge: scores of layer 0 have factors; the bulk is judged by scores as they "
      "are");
}

TEST(Judge, CountsWhatIsRead) {
  // Two groups of two heads, two rows: of the first group one head is long in row 0, of the other
  // none ever is.
  auto local = torch::ones({1, 1, 4, 2});
  local[0][0][1][0] = 0;
  EXPECT_DOUBLE_EQ(read_share(local, 2, 10, 30), (10 + 30 * 0.25) / 40);
  EXPECT_DOUBLE_EQ(read_share(torch::zeros({1, 1, 4, 2}), 2, 10, 30), 1);
}

TEST(Fit, TellsNormalScoresFromOthers) {
  torch::manual_seed(6);
  constexpr int64_t kKeys = 4000;
  EncodedContext context;
  auto& piece = context.pieces.emplace_back();
  piece.tokens.assign(kKeys, 0);
  auto keys = torch::randn({1, 2, kKeys, 4});
  keys.select(1, 1).copy_((keys.select(1, 1) > 0).to(torch::kFloat32));  // two values
  piece.keys.push_back(keys);
  GaussianFit fit(context);
  Observation seen;
  auto query = torch::zeros({1, 2, 5, 4});
  query.select(3, 0).fill_(1);
  seen.query = query;
  seen.bulk =
      BulkRows{{.first = 0, .last = 0}, split_window(read_sets(0, {kKeys}, {5}, {0}), {}), {}};
  fit.observe(seen);
  const auto distance = fit.distance();
  // Of n normal scores it is some 0.9 / sqrt(n); of two values, each half of all, Phi(1) - 1/2.
  EXPECT_LT(distance[0][0].item<double>(), 0.03);
  EXPECT_NEAR(distance[0][1].item<double>(), 0.3413, 0.02);
  EXPECT_LT(max_error(fit.histogram().sum(2), torch::ones({1, 2})), 1e-9);
  // From -0.25 to 0 deviations: Phi(0) - Phi(-0.25).
  EXPECT_NEAR(fit.histogram()[0][0][GaussianFit::kBins / 2 - 1].item<double>(), 0.0987, 0.02);
}

TEST(Margins, NeedABulk) {
  const auto model = golden("gpt2_default", torch::kFloat64);
  const auto margins = read_margins(*model, some_tokens(30), 8, kWindow);
  EXPECT_EQ(margins.oracle.sizes(), (std::vector<int64_t>{2, 4, 8}));
  EXPECT_EQ(
      message([&] { read_margins(*model, some_tokens(12), 8, kWindow); }),
      "motet::read_margins: 12 tokens with a query of 8 leave a context of 4, of which a window "
      "of 2 + 3 keys leaves no bulk; a longer text is needed");
}

}  // namespace
}  // namespace motet
