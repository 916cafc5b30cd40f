#include "motet/eval/heads.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/eval/predictions.h"
#include "motet/files/atomic.h"
#include "motet/heads/judge.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/reading/adaptive.h"
#include "motet/reading/reading.h"
#include "motet/report/heads.h"
#include "temporary.h"

namespace motet {
namespace {

using torch::Tensor;

HeadsOptions small_options() {
  HeadsOptions options;
  options.length = 40;
  options.scored = 10;
  options.segments = 2;
  options.tau = {0.3, 0.6};
  options.window = {.first = 2, .last = 3};
  options.pieces = 3;
  return options;
}

double mean(const HeadTable& table) {
  double sum = 0, count = 0;
  for (const auto& layer : table) {
    for (const auto value : layer) {
      sum += value;
      ++count;
    }
  }
  return sum / count;
}

HeadsRun small_run() {
  const auto model = golden("llama_default", torch::kFloat32);
  HeadsRun run;
  run.options = small_options();
  run.provenance.command = {"motet-heads", "--tau", "0.3,0.6"};
  run.provenance.model = {"golden", "12"};
  run.provenance.data = {"numbers", "34"};
  for (int64_t segment = 0; segment < 2; ++segment) {
    const auto tokens = some_tokens(40, 3 + segment);
    HeadsSegment reader(*model, tokens, run.options, segment);
    run.segment_full.push_back(reader.full());
    const auto calibration = calibrate(read_margins(*model, tokens, 10, run.options.window),
                                       run.options.window, run.options.tau);
    for (const auto tau : run.options.tau) {
      double share = 0;
      for (const auto& method : run.options.methods) {
        run.segment_rows.push_back(reader.row(method, tau, share, &calibration));
        share = method == "adaptive" ? run.segment_rows.back().local_share : share;
      }
    }
  }
  return run;
}

TEST(HeadsSegment, FiguresAreThoseOfTheirDefinition) {
  const auto model = golden("llama_default", torch::kFloat32);
  const auto options = small_options();
  const auto tokens = some_tokens(40, 3);
  HeadsSegment segment(*model, tokens, options, 0);
  HeadsStatistics statistics;
  const auto row = segment.row("adaptive", 0.6, {}, nullptr, &statistics);
  const auto local = statistics.at("local");
  EXPECT_EQ(local.sizes(), (std::vector<int64_t>{2, 4, 10}));
  const auto share = [](const Tensor& x) { return x.to(torch::kFloat64).mean().item<double>(); };
  const auto odds = log_odds(0.6);
  const auto oracle = (statistics.at("window") - statistics.at("bulk")) >= odds;
  EXPECT_TRUE(torch::equal(local, (statistics.at("window") - statistics.at("estimate")) >= odds));
  EXPECT_DOUBLE_EQ(row.local_share, share(local));
  EXPECT_DOUBLE_EQ(row.false_local, share(local.logical_and(oracle.logical_not())));
  EXPECT_DOUBLE_EQ(row.false_long, share(local.logical_not().logical_and(oracle)));
  EXPECT_DOUBLE_EQ(
      row.log_mass_error,
      share((statistics.at("estimate").to(torch::kFloat64) - statistics.at("bulk")).abs()));
  EXPECT_GT(row.log_mass_error, 0);
  EXPECT_NEAR(row.entropy_tok, share(statistics.at("entropy")), 1e-9);
  EXPECT_DOUBLE_EQ(row.nll, share(statistics.at("nll")));
  EXPECT_NEAR(mean(row.long_share), 1 - row.local_share, 1e-12);
  EXPECT_NEAR(mean(row.false_local_heads), row.false_local, 1e-12);
  EXPECT_NEAR(mean(row.oracle_long), 1 - share(oracle), 1e-12);
  // Against full attention: `All` on the same tokens.
  const auto context = encode(*model, {tokens.begin(), tokens.begin() + 29}, make_layout(0, {29}));
  const std::vector<int64_t> query(tokens.begin() + 29, tokens.end() - 1);
  const All all;
  const auto expected = share(
      predict(*model, Reader(*model, context, all).read(query), {tokens.begin() + 30, tokens.end()})
          .nll);
  EXPECT_NEAR(segment.full().nll, expected, 1e-5);  // fp32
  EXPECT_NEAR(row.delta_nll, row.nll - expected, 1e-5);
}

TEST(HeadsSegment, EndsOfTauAndTheOracle) {
  const auto model = golden("gpt2_default", torch::kFloat32);
  auto options = small_options();
  options.length = 36;
  HeadsSegment segment(*model, some_tokens(36, 5), options, 0);
  const auto none = segment.row("adaptive", 1, {}, nullptr);
  EXPECT_EQ(none.local_share, 0);
  EXPECT_NEAR(none.delta_nll, 0, 1e-5);  // fp32
  EXPECT_EQ(none.read_share, 1);
  const auto every = segment.row("adaptive", 0, {}, nullptr);
  EXPECT_EQ(every.local_share, 1);
  EXPECT_LT(every.read_share, 1);
  const auto oracle = segment.row("oracle", 0.5, {}, nullptr);
  EXPECT_EQ(oracle.false_local, 0);
  EXPECT_EQ(oracle.false_long, 0);
  EXPECT_GT(oracle.local_share, 0);
  // So many of 8 heads are local that the share is the nearest.
  EXPECT_EQ(segment.row("random", 0.5, 0.62, nullptr).local_share, 0.625);
  EXPECT_EQ(message([&] { segment.row("static", 0.5, {}, nullptr); }),
            "motet::HeadsSegment: static needs the share of local decisions");
}

TEST(HeadsRun, JoinsSegmentsAndRoundTrips) {
  const auto run = small_run();
  EXPECT_TRUE(run.complete());
  const auto rows = over_segments(run.segment_rows);
  ASSERT_EQ(rows.size(), 8u);
  const auto &first = run.segment_rows[0], &second = run.segment_rows[8];
  EXPECT_EQ(rows[0].tokens, 20);
  EXPECT_NEAR(rows[0].nll, (first.nll + second.nll) / 2, 1e-12);
  EXPECT_NEAR(rows[0].local_share, (first.local_share + second.local_share) / 2, 1e-12);
  EXPECT_NEAR(rows[0].long_share[1][2], (first.long_share[1][2] + second.long_share[1][2]) / 2,
              1e-12);
  const TemporaryDirectory directory;
  save_run(run, directory / "run.json");
  const auto document = json_of(load_heads_run(directory / "run.json"));
  EXPECT_EQ(document, json_of(run));
  for (const auto* field :
       {"method", "tau", "local_share", "nll", "nll_stderr", "delta_nll", "delta_stderr",
        "entropy_tok", "false_local", "false_long", "log_mass_error"}) {
    for (const auto& row : document["rows"]) EXPECT_TRUE(row.contains(field)) << field;
  }
  write_file(directory / "other.json", R"({"schema": 2, "program": "motet-compare"})");
  EXPECT_EQ(
      message([&] { load_heads_run(directory / "other.json"); }),
      (directory / "other.json").string() + ": is a run of motet-compare, not of motet-heads");
}

TEST(HeadsReport, HasEveryPicture) {
  const auto run = small_run();
  std::vector<std::string> names;
  for (const auto& picture : pictures_of(run)) {
    names.push_back(picture.name);
    EXPECT_EQ(picture.svg.find("nan"), std::string::npos) << picture.name;
    EXPECT_EQ(picture.svg.find("inf"), std::string::npos) << picture.name;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"loss-local", "long-heads", "confusion", "estimate",
                                             "gaussian", "local-layers", "entropy-rise"}));
  const auto page = html_of(run);
  EXPECT_NE(page.find("<td class=\"word\">oracle</td><td>0.6</td>"), std::string::npos);
  EXPECT_EQ(page.find("http"),
            page.find("http://www.w3.org/2000/svg"));  // nothing from the network
  const auto table = table_of(run);
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 1 + 9 + 4);
  EXPECT_NE(table.find("\nstatic    0.3"), std::string::npos) << table;
  EXPECT_EQ(message([] { pictures_of(HeadsRun()); }),
            "motet::pictures_of: the run on  has no method yet; resume it first");
}

TEST(HeadsOptions, ErrorsNameTheValues) {
  const auto error = [](const std::function<void(HeadsOptions&)>& edit) {
    auto options = small_options();
    edit(options);
    return message([&] { options.validate(); });
  };
  EXPECT_EQ(error([](auto&) {}), "no error");
  EXPECT_EQ(error([](auto& options) { options.tau = {0.5, 1.5}; }), "tau 1.5: it is within [0, 1]");
  EXPECT_EQ(error([](auto& options) {
              options.methods = {"oracle", "static"};
            }),
            "methods static: it is run at the share of local decisions that adaptive has; name "
            "adaptive first");
  EXPECT_EQ(error([](auto& options) { options.methods = {"dynamic"}; }),
            "methods dynamic: one of adaptive, oracle, static, random, pattern is wanted");
  EXPECT_EQ(error([](auto& options) { options.methods = {"pattern"}; }),
            "methods pattern: pattern says which heads are long");
  EXPECT_EQ(error([](auto& options) { options.window = {}; }),
            "length 40 scored 10: a context of 29 tokens beside a window of 16 + 128 keys leaves "
            "a bulk of 0, and 2 are needed; length must be at least 157");
}

TEST(TauForLoss, KeepsToTheLossWithTheSmallestTau) {
  const auto model = golden("llama_default", torch::kFloat32);
  const auto tokens = some_tokens(40, 3);
  const Window window{.first = 2, .last = 3};
  const auto nll = [&](const Reading& reading) {
    const auto context =
        encode(*model, {tokens.begin(), tokens.begin() + 29}, make_layout(0, {29}));
    const std::vector<int64_t> query(tokens.begin() + 29, tokens.end() - 1);
    return predict(*model, Reader(*model, context, reading).read(query),
                   {tokens.begin() + 30, tokens.end()})
        .nll.mean()
        .item<double>();
  };
  EXPECT_EQ(tau_for_loss(*model, tokens, 10, 100, window), 0);
  const auto cost = [&](double tau) {
    return nll(Adaptive({.tau = tau, .window = window})) - nll(All());
  };
  // Half of what the costliest tau costs: not all rows may be local then.
  double most = 0;
  for (const auto tau : {0.0, 0.2, 0.4}) most = std::max(most, cost(tau));
  ASSERT_GT(most, 0);
  const auto tau = tau_for_loss(*model, tokens, 10, std::min(most, cost(0)) / 2, window);
  EXPECT_LE(cost(tau), std::max(0.0, std::min(most, cost(0)) / 2) + 1e-9);
}

}  // namespace
}  // namespace motet
