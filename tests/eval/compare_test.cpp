#include "motet/eval/compare.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/eval/compare_run.h"
#include "motet/eval/memory.h"
#include "motet/eval/predictions.h"
#include "motet/files/atomic.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/reading/reading.h"
#include "motet/reading/select.h"
#include "motet/report/json.h"
#include "motet/report/table.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;

CompareOptions small_options() {
  return {.length = 36, .scored = 8, .segments = 2, .pieces = {1, 2, 4}, .prefix = {1, 2}};
}

std::vector<std::string> names(const ComparePlan& plan) {
  std::vector<std::string> names;
  for (const auto& mode : plan.modes) names.push_back(mode.name + std::to_string(mode.pieces));
  return names;
}

using Names = std::vector<std::string>;

TEST(Plan, HasEveryModeThatCanBe) {
  const auto config = golden("llama_default", torch::kFloat32)->config();
  const auto plan = plan_compare(config, small_options());
  EXPECT_EQ(names(plan),
            (Names{"full1", "parallel2", "sink2", "parallel4", "sink4", "selective4", "both4"}));
  ASSERT_EQ(plan.left_out.size(), 2u);
  EXPECT_EQ(plan.left_out[0].mode, "selective");
  EXPECT_EQ(plan.left_out[0].pieces, 2);
  EXPECT_EQ(plan.left_out[0].reason, "K = 2 keeps all of 2 pieces");
  auto options = small_options();
  options.prefix.clear();
  EXPECT_EQ(names(plan_compare(config, options)),
            (Names{"full1", "parallel2", "parallel4", "selective4"}));
}

TEST(Plan, KeepsTheLargestKeysAtEveryDegree) {
  const auto config = golden("llama_default", torch::kFloat32)->config();
  auto options = small_options();
  options.pieces = {2, 1};
  options.readings = {"topk:4", "soft", "topk:8"};
  EXPECT_EQ(names(plan_compare(config, options)),
            (Names{"full1", "parallel2", "sink2", "topk2", "topk2", "soft2", "soft2", "topk2",
                   "topk2", "topk1", "topk1"}));
  options.readings = {"topk:4", "topk:4"};
  EXPECT_EQ(message([&] { options.validate(); }), "readings: topk:4 is given twice");
}

/// Statistics and pictures go by a mode's name.
TEST(Plan, TellsTwoSelectionsApart) {
  auto options = small_options();
  options.pieces = {4};
  options.readings = {"select", "select:1"};
  const auto config = golden("llama_default", torch::kFloat32)->config();
  Names labels;
  for (const auto& mode : plan_compare(config, options).modes) {
    labels.push_back(mode_label(mode.name, mode.reading->name(), mode.selected, mode.prefix));
  }
  EXPECT_EQ(labels, (Names{"parallel", "sink", "selective", "both", "select(K=1, r=5)",
                           "select(K=1, r=5) + prefix"}));
}

TEST(Plan, LeavesOutWhatPositionsCannotHold) {
  const auto config = golden("gpt2_published", torch::kFloat32)->config();  // 40 positions
  auto options = small_options();
  options.length = 60;
  const auto plan = plan_compare(config, options);
  EXPECT_EQ(names(plan),
            (Names{"parallel2", "sink2", "parallel4", "sink4", "selective4", "both4"}));
  EXPECT_EQ(plan.left_out[0].reason, "it needs 59 positions, the model has 40");
  options.pieces = {1};
  EXPECT_EQ(message([&] { plan_compare(config, options); }),
            "no mode is left to run:\n  full, P = 1: it needs 59 positions, the model has 40");
}

TEST(Options, ErrorsNameTheValues) {
  const auto error = [](const std::function<void(CompareOptions&)>& edit) {
    auto options = small_options();
    edit(options);
    return message([&] { options.validate(); });
  };
  EXPECT_EQ(error([](auto& o) { o.scored = 0; }), "scored 0: at least 1 token must be scored");
  EXPECT_EQ(error([](auto& o) { o.scored = 35; }),
            "length 36 scored 35: a segment needs a context; length must be at least 37");
  EXPECT_EQ(error([](auto& o) { o.segments = 0; }), "segments 0: at least 1 is needed");
  EXPECT_EQ(error([](auto& o) { o.skip = -1; }), "skip -1: a number of segments is wanted");
  EXPECT_EQ(error([](auto& o) { o.select = 0; }), "select 0: at least 1 piece must be kept");
  EXPECT_EQ(error([](auto& o) { o.pieces = {}; }), "pieces: no degree is given");
  EXPECT_EQ(error([](auto& o) { o.pieces = {2, 0}; }), "pieces 0: a degree is at least 1");
  EXPECT_EQ(error([](auto& o) { o.pieces = {2, 2}; }), "pieces: the degree 2 is given twice");
  EXPECT_EQ(
      error([](auto& o) { o.pieces = {20}; }),
      "pieces 20: the context of 27 tokens in pieces of 2 fills only 14; choose fewer pieces or "
      "a longer length");
}

TEST(Predictions, EqualTheDefinition) {
  const auto model = golden("llama_default", torch::kFloat32);
  torch::manual_seed(3);
  const auto hidden = torch::randn({150, 16}), reference = hidden + 0.3 * torch::randn({150, 16});
  const auto targets = some_tokens(150, 4);
  const auto predictions = predict(*model, hidden, targets, reference);
  const auto p = model->logits(hidden).to(torch::kFloat64).softmax(-1),
             r = model->logits(reference).to(torch::kFloat64).softmax(-1);
  for (int64_t row = 0; row < 150; ++row) {
    EXPECT_NEAR(predictions.nll[row].item<double>(), -std::log(p[row][targets[row]].item<double>()),
                1e-5);
    EXPECT_NEAR((*predictions.kl)[row].item<double>(),
                (r[row] * (r[row].log() - p[row].log())).sum().item<double>(), 1e-5);
    EXPECT_EQ((*predictions.same_top1)[row].item<double>(),
              p[row].argmax().item<int64_t>() == r[row].argmax().item<int64_t>());
  }
  EXPECT_FALSE(predict(*model, hidden, targets).kl.has_value());
  EXPECT_EQ(message([&] {
              predict(*model, hidden, {1, 2});
            }),
            "motet::predict: 150 rows, 2 tokens to predict");
}

TEST(Mean, HasTheStandardErrorOfTokens) {
  const auto mean = mean_of(torch::tensor({1.0, 2.0, 6.0}, torch::kFloat64));
  EXPECT_DOUBLE_EQ(mean.value, 3);
  EXPECT_DOUBLE_EQ(*mean.standard_error, std::sqrt(7.0 / 3));  // variance (4 + 1 + 9) / 2
  EXPECT_FALSE(mean_of(torch::ones({1}, torch::kFloat64)).standard_error.has_value());
}

/// Two segments of a tiny model, all modes.
CompareRun small_run(int64_t segments = 2) {
  const auto model = golden("llama_default", torch::kFloat32);
  CompareRun run;
  run.provenance.command = {"motet-compare"};
  run.options = small_options();
  const auto plan = plan_compare(model->config(), run.options);
  run.left_out = plan.left_out;
  for (int64_t segment = 0; segment < segments; ++segment) {
    for (const auto& row :
         compare_segment(*model, some_tokens(36, segment), run.options, plan, segment)) {
      run.segment_rows.push_back(row);
    }
  }
  return run;
}

/// A matrix of queries by keys of one head alone would take 250 MiB here. The preset nightly
/// measures the default model.
TEST(Segment, KeepsNoMatrixOfQueriesByKeys) {
  const auto model = golden("llama_default", torch::kFloat32);
  const CompareOptions options{.length = 8192, .scored = 64, .segments = 1, .pieces = {1}};
  const auto plan = plan_compare(model->config(), options);
  ASSERT_TRUE(reset_peak_memory());
  const auto before = peak_memory().value();
  const auto rows = compare_segment(*model, some_tokens(8192, 3), options, plan, 0);
  EXPECT_LT(rows[0].peak_bytes.value() - before, int64_t{100} << 20);
}

/// A figure of another type is never taken for one, nor a row of no segment for one of several.
TEST(Document, OfDamagedRowsIsAnError) {
  const TemporaryDirectory directory;
  const auto path = directory / "run.json";
  const auto document = json_of(small_run(1));
  const auto error = [&](const char* name, const nlohmann::json& value) {
    auto damaged = document;
    damaged["segment_rows"][0][name] = value;
    write_file(path, damaged.dump());
    return message([&] { load_run(path); });
  };
  for (const auto& [name, value] : {std::pair<const char*, nlohmann::json>("segment", nullptr),
                                    {"entropy_heads", 3},
                                    {"entropy_heads", nullptr},
                                    {"entropy_heads", nlohmann::json::array()},
                                    {"entropy_heads", {{1.0}, {1.0, 2.0}}},
                                    {"entropy_heads", {{1.0, 2.0}}},
                                    {"pieces", 0},
                                    {"attention", "none"},
                                    {"nll", "low"},
                                    {"mode", 7}}) {
    EXPECT_EQ(error(name, value).find(path.string() + ": is damaged: "), 0u) << name << value;
  }
}

TEST(Segment, IsWhatEncodeAndReadSay) {
  const auto run = small_run(1);
  const auto model = golden("llama_default", torch::kFloat32);
  const auto tokens = some_tokens(36, 0);
  for (const auto& row : run.segment_rows) {
    std::vector<int64_t> context(tokens.begin(), tokens.begin() + 27),
        query(tokens.begin() + 27, tokens.end() - 1);
    if (row.prefix_tokens > 0) context.insert(context.begin(), {1, 2});
    const auto layout = make_layout(row.prefix_tokens, split_tokens(27, row.pieces));
    const All all;
    const Select select;
    const Reading& reading = row.selected > 0 ? static_cast<const Reading&>(select) : all;
    const auto logits = read(*model, encode(*model, context, layout), query, reading);
    double nll = 0;
    for (int64_t i = 0; i < 8; ++i)
      nll -= logits.log_softmax(-1)[i][tokens[28 + i]].item<double>() / 8;
    EXPECT_NEAR(row.nll, nll, 1e-5) << row.mode << row.pieces;
    EXPECT_NEAR(row.entropy_between + row.entropy_within, row.entropy_tok, 1e-5);
    EXPECT_NEAR(row.entropy_pce, row.entropy_tok, 1e-6);  // calls of the same number of rows
    EXPECT_NEAR(row.delta_nll.value(), row.nll - run.segment_rows[0].nll, 1e-9);
    EXPECT_GE(row.kl.value(), -1e-6);
    EXPECT_EQ(row.prefix_tokens > 0, row.mass_prefix > 0);
  }
}

TEST(Segment, WithOnlyTheLargestKeysIsComparedWithFull) {
  const auto model = golden("llama_default", torch::kFloat32);
  CompareOptions options{.length = 36, .scored = 8, .pieces = {1, 2}, .prefix = {1, 2}};
  options.readings = {"topk:3", "topk:100"};
  const auto plan = plan_compare(model->config(), options);
  const auto rows = compare_segment(*model, some_tokens(36, 4), options, plan, 0);
  for (const auto& row : rows) {
    const auto& same = row.reading == "topk(k=100)"  // rows see fewer: as without it
                           ? *std::find_if(rows.begin(), rows.end(),
                                           [&](const auto& other) {
                                             return other.reading == "all" &&
                                                    other.pieces == row.pieces &&
                                                    other.prefix_tokens == row.prefix_tokens;
                                           })
                           : row;
    EXPECT_NEAR(row.nll, same.nll, 1e-6) << label_of(row);
    EXPECT_NEAR(row.entropy_tok, same.entropy_tok, 1e-6) << label_of(row);
    if (row.reading == "topk(k=3)") {
      EXPECT_LE(row.entropy_tok, std::log(3) + 1e-6);  // three keys are left
      EXPECT_GT(*row.kl, 0);
    }
  }
}

TEST(CompareSegment, KeepsTheStatisticsOfEveryRow) {
  const auto model = golden("llama_default", torch::kFloat32);
  const auto options = small_options();
  const auto plan = plan_compare(model->config(), options);
  CompareStatistics statistics;
  const auto tokens = some_tokens(36, 3);
  const auto rows = compare_segment(*model, tokens, options, plan, 3, {}, &statistics);
  EXPECT_EQ(statistics.size(), 2 + rows.size() * 7);
  const auto targets = torch::tensor(std::vector<int64_t>(tokens.end() - 8, tokens.end()));
  EXPECT_TRUE(torch::equal(statistics.at("3/targets"), targets));
  EXPECT_EQ(statistics.at("3/tokens").size(0), 8);
  for (const auto& row : rows) {
    const auto name = "3/" + label_of(row) + "/" + std::to_string(row.pieces) + "/";
    SCOPED_TRACE(name);
    const auto mean = [&](const char* what) {
      return statistics.at(name + what).to(torch::kFloat64).mean().item<double>();
    };
    EXPECT_EQ(statistics.at(name + "entropy").sizes(), (std::vector<int64_t>{2, 4, 8}));
    EXPECT_EQ(statistics.at(name + "nll").sizes(), (std::vector<int64_t>{8}));
    EXPECT_NEAR(mean("nll"), row.nll, 1e-12);
    EXPECT_NEAR(mean("entropy"), row.entropy_tok, 1e-6);
    EXPECT_NEAR(mean("between"), row.entropy_between, 1e-6);
    EXPECT_NEAR(mean("within"), row.entropy_within, 1e-6);
    EXPECT_NEAR(mean("mass_prefix"), row.mass_prefix, 1e-6);
    EXPECT_NEAR(mean("mass_own"), row.mass_own, 1e-6);
    EXPECT_NEAR(mean("mass_top_piece"), row.mass_top_piece, 1e-6);
  }
}

TEST(OverSegments, JoinsAsIfTheTokensWereOneSample) {
  const auto run = small_run();
  const auto rows = over_segments(run.segment_rows);
  ASSERT_EQ(rows.size(), 7u);
  const auto &a = run.segment_rows[1], &b = run.segment_rows[8], &both = rows[1];
  EXPECT_EQ(both.mode, "parallel");
  EXPECT_EQ(both.segments, 2);
  EXPECT_EQ(both.tokens, 16);
  EXPECT_FALSE(both.segment.has_value());
  EXPECT_NEAR(both.nll, (a.nll + b.nll) / 2, 1e-12);
  EXPECT_NEAR(both.perplexity, std::exp(both.nll), 1e-12);
  const auto squares = [](const CompareRow& row) {  // about the mean of its own
    return std::pow(*row.nll_stderr, 2) * 8 * 7;
  };
  const auto pooled = squares(a) + squares(b) + 16 * std::pow((a.nll - b.nll) / 2, 2);
  EXPECT_NEAR(*both.nll_stderr, std::sqrt(pooled / 15 / 16), 1e-12);
  EXPECT_NEAR(*both.kl, (*a.kl + *b.kl) / 2, 1e-12);
  EXPECT_NEAR(both.entropy_heads[1][2], (a.entropy_heads[1][2] + b.entropy_heads[1][2]) / 2, 1e-12);
}

/// Probes that are asked for have figures where there is something to see, and readings with a null
/// set, or with factors on rows, run in one piece, too.
TEST(Compare, HasFiguresThatAreAskedFor) {
  const auto model = golden("llama_default", torch::kFloat32);
  auto options = small_options();
  options.pieces = {1, 4};
  options.prefix.clear();
  options.readings = {"select", "guess:2:mean", "null:1", "scale:ssmax"};
  options.recall = true;
  options.gaps = {1, 50};
  const auto plan = plan_compare(model->config(), options);
  EXPECT_EQ(names(plan), (Names{"full1", "null1", "scale1", "parallel4", "selective4", "guess4",
                                "null4", "scale4"}));
  CompareRun run{.options = options};
  for (int64_t segment = 0; segment < 2; ++segment) {
    const auto rows = compare_segment(*model, some_tokens(36, 3 + segment), options, plan, segment);
    run.segment_rows.insert(run.segment_rows.end(), rows.begin(), rows.end());
  }
  const auto rows = over_segments(run.segment_rows);
  for (const auto& row : rows) {
    EXPECT_EQ(row.mass_null.has_value(), row.mode == "null") << label_of(row);
    EXPECT_EQ(row.choice.has_value(), row.mode == "selective" || row.mode == "guess");
    ASSERT_EQ(row.near_keys->size(), 2u);
    EXPECT_GE(row.near_keys->at(0).keys, 1);
    // All that a row sees lies within 50 nats of its best: 27 of the context and 4.5 of its own.
    EXPECT_NEAR(row.near_keys->at(1).keys, row.choice ? 27.0 / 2 + 4.5 : 27 + 4.5, 1) << row.mode;
  }
  const auto &exact = rows[4], &guessed = rows[5];
  EXPECT_EQ(exact.choice->recall, 1);
  EXPECT_LT(guessed.choice->recall, 1);
  EXPECT_LT(guessed.choice->mass, exact.choice->mass);
  const auto table = table_of(run);
  for (const auto* title : {"recall", "kept", "null", "<1", "<50"}) {
    EXPECT_NE(table.find(title), std::string::npos) << title;
  }
  TemporaryDirectory directory;
  const auto path = directory / "run.json";
  save_run(run, path);
  const auto again = load_run(path);
  EXPECT_EQ(json_of(again), json_of(run));
  EXPECT_EQ(again.options.gaps, options.gaps);
  // Earlier versions wrote none of these; what they wrote is still wanted.
  const auto without = [&](const char* figure) {
    auto json = json_of(run);
    for (auto& row : json["segment_rows"]) row.erase(figure);
    write_file(path, json.dump());
    return message([&] { load_run(path); });
  };
  EXPECT_EQ(without("mass_null"), "no error");
  EXPECT_EQ(without("near_keys"), "no error");
  EXPECT_NE(without("kl").find("kl is missing"), std::string::npos) << without("kl");
}

/// From the definition, member by member: with a prefix, and without.
TEST(Ensemble, MixesReadingsOfOnePieceEach) {
  const auto model = golden("llama_default", torch::kFloat64);
  const auto tokens = some_tokens(36);
  auto options = small_options();
  options.pieces = {1, 4};
  options.readings.clear();
  options.ensembles = {ensemble_named("nbce:0.5"), ensemble_named("mean")};
  const auto plan = plan_compare(model->config(), options);
  EXPECT_EQ(names(plan), (Names{"full1", "parallel4", "sink4", "ensemble4", "ensemble4",
                                "ensemble4", "ensemble4"}));
  const auto rows = compare_segment(*model, tokens, options, plan, 0);
  const Tokens query(tokens.begin() + 27, tokens.end() - 1);
  for (std::size_t mode = 3; mode < 7; ++mode) {
    const bool prefix = plan.modes[mode].prefix, nbce = mode < 5;
    auto whole = prefix ? options.prefix : Tokens();
    whole.insert(whole.end(), tokens.begin(), tokens.begin() + 27);
    auto context =
        encode(*model, whole, make_layout(prefix ? 2 : 0, split_tokens(27, 4), Positions::kSpread));
    const auto pieces = context.pieces;
    std::vector<torch::Tensor> p;
    for (std::size_t piece = 0; piece <= pieces.size(); ++piece) {
      context.pieces.clear();
      if (piece < pieces.size()) context.pieces.push_back(pieces[piece]);
      p.push_back(read(*model, context, query).softmax(-1));
    }
    double nll = 0;
    for (int64_t row = 0; row < 8; ++row) {
      auto mixture = torch::zeros_like(p[0][row]);
      double least = 1e9;
      for (std::size_t piece = 0; piece < 4; ++piece) {
        const auto& one = p[piece][row];
        const auto entropy = -torch::xlogy(one, one).sum().item<double>();
        if (!nbce) mixture += one / 4;
        if (nbce && entropy < least) {
          least = entropy;
          mixture = one.pow(1.5) / p[4][row].pow(0.5);
        }
      }
      nll -= std::log((mixture[tokens[28 + row]] / mixture.sum()).item<double>()) / 8;
    }
    EXPECT_NEAR(rows[mode].nll, nll, 1e-9) << mode;
    EXPECT_GT(*rows[mode].kl, 0);
    EXPECT_EQ(rows[mode].reading, nbce ? "ensemble(nbce:0.5)" : "ensemble(mean)");
    EXPECT_GT(rows[mode].entropy_tok, 0);
    EXPECT_EQ(rows[mode].entropy_text.back().first + rows[mode].entropy_text.back().tokens, 35);
  }
  EXPECT_EQ(message([] { ensemble_named("nbce:-1"); }),
            "the ensemble 'nbce:-1': beta is a number, 0 or more; there are nbce[:BETA] and mean");
  EXPECT_EQ(message([] { ensemble_named("sum"); }),
            "the ensemble 'sum': no such name; there are nbce[:BETA] and mean");
  options.ensembles.push_back(ensemble_named("mean"));
  EXPECT_EQ(message([&] { options.validate(); }), "ensembles: mean is given twice");
}

TEST(Json, ReadsWhatItWrote) {
  TemporaryDirectory directory;
  auto run = small_run();
  run.segment_rows[3].delta_nll.reset();
  run.segment_rows[3].peak_bytes.reset();
  const auto path = directory / "run.json";
  save_run(run, path);
  const auto again = load_run(path);
  EXPECT_EQ(json_of(again), json_of(run));
  const auto json = json_of(run);
  EXPECT_TRUE(json["complete"].get<bool>());
  EXPECT_TRUE(json["segment_rows"][3]["delta_nll"].is_null());
  for (const auto* field :
       {"task",         "mode",          "reading",        "pieces",          "prefix_tokens",
        "selected",     "positions",     "segments",       "tokens",          "nll",
        "nll_stderr",   "perplexity",    "delta_nll",      "delta_stderr",    "kl",
        "same_top1",    "entropy_pce",   "entropy_tok",    "entropy_between", "entropy_within",
        "mass_prefix",  "mass_own",      "mass_top_piece", "mass_null",       "choice",
        "near_keys",    "entropy_heads", "entropy_text",   "cost_ratio",      "encode_seconds",
        "read_seconds", "peak_bytes"}) {
    EXPECT_TRUE(json["rows"][0].contains(field)) << field;
  }
  write_file(path, R"({"schema": 99, "program": "motet-compare"})");
  EXPECT_EQ(message([&] { load_run(path); }),
            path.string() + ": is of schema 99, this version reads 3");
  write_file(path, "[");
  EXPECT_EQ(message([&] { load_run(path); }), path.string() + ": is not a run of motet");
}

TEST(Table, HasALineForEveryRow) {
  const auto table = table_of(small_run());
  EXPECT_EQ(std::count(table.begin(), table.end(), '\n'), 1 + 7 + 3);
  EXPECT_NE(table.find("\nselective  4"), std::string::npos) << table;
}

}  // namespace
}  // namespace motet
