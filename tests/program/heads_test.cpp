// motet-heads, run as a user runs it.

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "motet/files/safetensors.h"
#include "motet/heads/calibration.h"
#include "program/program.h"
#include "temporary.h"

namespace motet {
namespace {

using nlohmann::json;

class Heads : public ProgramTest {
 protected:
  Heads() : ProgramTest(MOTET_HEADS, 64, 40000) {}
  std::vector<std::string> given() const override {
    return {"--text",         text_, "--length",      "48", "--scored", "12",
            "--window-first", "2",   "--window-last", "4",  "--pieces", "2"};
  }

  json document() const { return json::parse(read_file(out_ + "/run.json")); }
};

TEST_F(Heads, RunsEveryMethodAndLeavesAPage) {
  const auto outcome = run({"--segments", "2", "--tau", "0.3,0.6", "--save-stats", "--out", out_});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("calibrating on examples/data/alice.txt, 47 tokens (--calibrate FILE "
                             "takes another)"),
            std::string::npos)
      << outcome.err;
  EXPECT_NE(outcome.out.find("static heads calibrated on examples/data/alice.txt"),
            std::string::npos);
  EXPECT_NE(outcome.out.find("\noracle    0.3"), std::string::npos) << outcome.out;
  const auto run = document();
  EXPECT_TRUE(run["complete"].get<bool>());
  ASSERT_EQ(run["rows"].size(), 8u);
  for (std::size_t i = 0; i < 2; ++i) {  // two layers of two heads: shares of quarters
    const auto share = run["rows"][4 * i]["local_share"].get<double>();
    for (std::size_t method = 2; method < 4; ++method) {
      EXPECT_NEAR(run["rows"][4 * i + method]["local_share"].get<double>(), share, 0.126);
    }
    EXPECT_EQ(run["rows"][4 * i + 1]["false_local"], 0);
  }
  EXPECT_EQ(run["calibration"]["name"], "examples/data/alice.txt");
  for (const auto* name : {"index.html", "static.json", "pictures/loss-local.png",
                           "pictures/entropy-rise.svg", "stats/1-random-0.6.safetensors"}) {
    EXPECT_TRUE(std::filesystem::exists(std::filesystem::path(out_) / name)) << name;
  }
  const auto stats =
      SafeTensors::open(std::filesystem::path(out_) / "stats/0-oracle-0.3.safetensors");
  EXPECT_EQ(stats.tensor("local").sizes(), (std::vector<int64_t>{2, 2, 12}));
  EXPECT_EQ(stats.tensor("full_nll").mean().item<double>(), run["segment_full"][0]["nll"]);
}

TEST_F(Heads, ReportMakesThePageAgainAndTables) {
  ASSERT_EQ(run({"--segments", "1", "--tau", "0.5", "--out", out_}).code, 0);
  const auto page = std::filesystem::path(out_) / "index.html";
  const auto before = read_file(page);
  std::filesystem::remove(page);
  const auto report = [&](std::vector<std::string> words) {
    words.insert(words.begin(), MOTET_REPORT);
    return Process(directory_.path(), words).wait();
  };
  const auto made = report({out_});
  ASSERT_EQ(made.code, 0) << made.err;
  EXPECT_EQ(made.out, page.string() + "\n");
  EXPECT_EQ(read_file(page), before);
  const auto markdown = report({out_, out_ + "/run.json", "--format", "markdown"});
  EXPECT_EQ(std::count(markdown.out.begin(), markdown.out.end(), '\n'), 2 + 2 * 5) << markdown.out;
  EXPECT_EQ(markdown.out.substr(0, 26), "| run | method | tau | loc");
  const auto csv = report({out_, "--format", "csv"});
  EXPECT_EQ(csv.out.substr(0, 18), "model,data,method,") << csv.err;

  EXPECT_EQ(report({out_, out_, "--out", directory_ / "page"}).code, 2);  // a page shows one run
  const std::string other = directory_ / "other.json";
  write_file(other, R"({"schema": 3, "program": "motet-compare"})");
  const auto mixed = report({out_, other, "--format", "csv"});
  EXPECT_EQ(mixed.code, 2);
  EXPECT_EQ(mixed.err.substr(0, mixed.err.find('\n')),
            "motet-report: " + out_ + "/run.json is a run of motet-heads, " + other +
                " one of motet-compare; they have no common figures");
}

TEST_F(Heads, SegmentsNeverCrossTexts) {
  const auto book = read_file(text_);
  const std::vector<std::string> one_tau{"--tau", "0.5", "--overwrite",
                                         "--out", out_,  "--segments"};
  const auto losses = [&](const std::string& text, const std::string& segments) {
    write_file(text_, text);
    auto options = one_tau;
    options.push_back(segments);
    const auto outcome = run(options);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const auto run_json = document();
    std::vector<double> found;
    for (const auto& full : run_json["segment_full"]) found.push_back(full["nll"]);
    return found;
  };
  const auto first = book.substr(0, 300), second = book.substr(300, 300);
  const auto a = losses(first, "1"), b = losses(second, "1");
  text_ = directory_ / "text.jsonl";
  EXPECT_EQ(losses(json(first).dump() + "\n" + json{{"text", second}}.dump() + "\n", "2"),
            (std::vector<double>{a.at(0), b.at(0)}));
  EXPECT_EQ(document()["data"]["name"], "text.jsonl (2 texts)");
}

TEST_F(Heads, SwitchesHeadsOff) {
  const std::vector<std::string> options{"--segments", "1",        "--tau", "1",
                                         "--method",   "adaptive", "--out"};
  const auto with = [&](const std::vector<std::string>& more) {
    auto words = options;
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  ASSERT_EQ(with({out_}).code, 0);
  const auto whole = document();
  ASSERT_EQ(with({out_, "--overwrite", "--ablate", "0.1,1.0"}).code, 0);
  const auto ablated = document();
  EXPECT_EQ(ablated["configuration"]["ablation"],
            json::parse(R"({"by": "zero", "heads": [[0, 1], [1, 0]]})"));
  EXPECT_TRUE(whole["configuration"]["ablation"].is_null());
  // Full attention is that of motet-compare; adaptive heads that read everything are full.
  const std::string compared = directory_ / "compared";
  const auto outcome =
      Process(directory_.path(), {MOTET_COMPARE, "--model", model_, "--text", text_, "--threads",
                                  "1", "--length", "48", "--scored", "12", "--segments", "1",
                                  "--pieces", "1", "--ablate", "0.1,1.0", "--out", compared})
          .wait();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto full = json::parse(read_file(compared + "/run.json"))["rows"][0]["nll"].get<double>();
  EXPECT_NEAR(ablated["segment_full"][0]["nll"].get<double>(), full, 1e-5);  // fp32
  EXPECT_NEAR(ablated["rows"][0]["nll"].get<double>(), full, 1e-5);
  EXPECT_GT(std::abs(whole["segment_full"][0]["nll"].get<double>() - full), 1e-4);

  const auto other = with({out_, "--resume", "--ablate", "0.1"});
  EXPECT_EQ(other.code, 1);
  EXPECT_NE(other.err.find("is a run with another configuration"), std::string::npos) << other.err;
  EXPECT_NE(with({directory_ / "none", "--ablate", "7.0"}).code, 0);
}

TEST_F(Heads, GoesOnWithWhatIsThere) {
  const std::vector<std::string> options{"--segments", "1", "--tau", "0.5", "--out", out_};
  ASSERT_EQ(run(options).code, 0);
  const auto whole = document();
  auto half = whole;
  half["segment_rows"].erase(3);
  half["segment_rows"].erase(1);
  write_file(out_ + "/run.json", half.dump());
  EXPECT_NE(run(options).err.find("holds a run already; --resume goes on with it"),
            std::string::npos);
  auto more = options;
  more.emplace_back("--resume");
  const auto outcome = run(more);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("a segment of 48 tokens, 2 readings of 12 tokens to do"),
            std::string::npos)
      << outcome.err;
  const auto again = document();
  for (const auto& row : whole["rows"]) {  // whatever their order
    bool found = false;
    for (const auto& other : again["rows"]) found = found || other == row;
    EXPECT_TRUE(found) << row["method"];
  }
  auto other = options;
  other[3] = "0.6";
  other.emplace_back("--resume");
  EXPECT_NE(run(other).err.find("is a run with another configuration"), std::string::npos);
}

TEST_F(Heads, TakesPatternsCalibrationsAndShares) {
  write_file(directory_ / "gates.tsv", "0.9\t0.1\n0.2\t0.7\n");
  const auto outcome = run({"--segments", "1", "--method", "adaptive,pattern,static", "--share",
                            "0.5", "--pattern", directory_ / "gates.tsv", "--out", out_});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("--share 0.5: tau = "), std::string::npos) << outcome.err;
  const auto first = document();
  ASSERT_EQ(first["rows"].size(), 3u);
  EXPECT_EQ(first["rows"][1]["method"], "pattern");
  EXPECT_EQ(first["rows"][1]["local_share"], 0.5);
  // The calibration of that run, for another.
  const auto tau = first["rows"][0]["tau"].dump();
  const auto again = run({"--segments", "1", "--method", "adaptive,static", "--tau", tau,
                          "--calibrate", out_ + "/static.json"});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.out.find("static heads calibrated on examples/data/alice.txt"),
            std::string::npos);
  auto calibration = json::parse(read_file(out_ + "/static.json"));
  calibration["window"][1] = 5;
  write_file(directory_ / "other.json", calibration.dump());
  const auto wrong = run({"--tau", "0.5", "--calibrate", directory_ / "other.json"});
  EXPECT_EQ(wrong.code, 1);
  EXPECT_EQ(
      wrong.err,
      "motet-heads: motet::HeadCalibration: it was made with a window of 2 + 5 keys, this one "
      "is of 2 + 4; calibrate on a text\n");
}

TEST_F(Heads, ErrorsOfTheCommandLine) {
  const auto outcome = run({"--tau", "1.5"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "motet-heads: --tau 1.5: it is within [0, 1]\nRun it with --help for its options.\n");
  EXPECT_EQ(run({"--segments", "500"}).code, 1);
  // What nothing would read.
  const auto gates = (directory_ / "gates.tsv").string();
  const auto error_of = [&](const std::vector<std::string>& words) { return run(words).err; };
  EXPECT_EQ(error_of({"--method", "oracle", "--calibrate", text_})
                .find("motet-heads: --calibrate " + text_ + ": nothing is calibrated without"),
            0u);
  EXPECT_EQ(error_of({"--pattern", gates})
                .find("motet-heads: --pattern " + gates + ": --method names no pattern"),
            0u);
  EXPECT_EQ(error_of({"--gate", "0.9"}).find("motet-heads: --gate requires --pattern"), 0u);
  EXPECT_EQ(error_of({"--resume"}).find("motet-heads: --resume and --overwrite need --out DIR"),
            0u);
}

}  // namespace
}  // namespace motet
