// Readings that are made from files, as programs take them.

#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "motet/model/weights.h"
#include "motet/reading/learned.h"
#include "program/program.h"

namespace motet {
namespace {

using nlohmann::json;

class ReadingFiles : public ProgramTest {
 protected:
  ReadingFiles() : ProgramTest(MOTET_COMPARE, 400, 40000) {}
  std::vector<std::string> given() const override {
    return {"--text", text_,      "--length", "48",       "--scored", "12",    "--segments",
            "2",      "--pieces", "1,4",      "--prefix", "",         "--out", out_};
  }

  /// A file of a fit, for a model of so many layers.
  std::string fitted(const std::string& name, double exponent, int64_t layers = 2,
                     std::map<std::string, std::string> about = {}) const {
    std::filesystem::create_directories(directory_ / name);
    const auto path = directory_ / name / "reading.safetensors";
    Learned({torch::full({layers, 2}, exponent), torch::zeros({1, 1})}).save(path, about);
    return path;
  }
  Outcome run_program(const std::string& program, const std::vector<std::string>& more) const {
    std::vector<std::string> words{program, "--model", model_, "--threads", "1", "--out", out_};
    words.insert(words.end(), more.begin(), more.end());
    return Process(directory_.path(), words).wait();
  }
};

TEST_F(ReadingFiles, ARunGoesOnWithTheFileThatItBeganWithOnly) {
  const auto file = fitted("fit", 1.5);
  const std::vector<std::string> words{"--readings", "select,learned:" + file, "--resume"};
  ASSERT_EQ(run(words).code, 0);
  const auto document = json::parse(read_file(out_ + "/run.json"));
  const json files{{{"name", "learned(fit)"}, {"hash", sha256(read_file(file))}}};
  EXPECT_EQ(document["configuration"]["reading_files"], files);
  ASSERT_EQ(run(words).code, 0);  // and keeps what it says
  EXPECT_EQ(json::parse(read_file(out_ + "/run.json"))["configuration"]["reading_files"], files);
  fitted("fit", 1.6);
  auto quiet = words;
  quiet.push_back("--quiet");
  const json now{{{"name", "learned(fit)"}, {"hash", sha256(read_file(file))}}};
  expect_error(quiet, 1,
               out_ + "/run.json: is a run with another configuration, reading_files: it has " +
                   files.dump() + ", this command has " + now.dump() + "; choose another --out");
  ASSERT_EQ(run({"--overwrite"}).code, 0);
  EXPECT_FALSE(json::parse(read_file(out_ + "/run.json"))["configuration"].contains(
      "reading_files"));  // where there are none
}

TEST_F(ReadingFiles, SoDoTasks) {
  const auto file = fitted("fit", 1.5);
  const std::vector<std::string> words{
      "--tasks", "kv:pairs=4", "--length",        "320",     "--items", "1", "--pieces",
      "4",       "--readings", "learned:" + file, "--resume"};
  const auto outcome = run_program(MOTET_EVAL, words);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  ASSERT_EQ(run_program(MOTET_EVAL, words).code, 0);
  fitted("fit", 1.6);
  const auto refused = run_program(MOTET_EVAL, words);
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.err.find("is a run with another configuration, reading_files: "),
            std::string::npos)
      << refused.err;
}

TEST_F(ReadingFiles, SoDoAnswers) {
  const auto file = fitted("fit", 1.5);
  write_file(directory_ / "piece.txt", "One. Two.");
  const std::vector<std::string> words{
      "--pieces",  directory_ / "piece.txt", "--query",  "What?",  "--tokens", "2",
      "--reading", "learned:" + file,        "--resume", "--quiet"};
  ASSERT_EQ(run_program(MOTET_GENERATE, words).code, 0);
  ASSERT_EQ(run_program(MOTET_GENERATE, words).code, 0);
  const auto before = sha256(read_file(file));
  fitted("fit", 1.6);
  EXPECT_EQ(run_program(MOTET_GENERATE, words).err,
            "motet-generate: " + out_ + "/answers.jsonl:1: was made with another reading_hash: \"" +
                before + "\", this command has \"" + sha256(read_file(file)) +
                "\"; choose another --out\n");
}

/// Two fits are two rows of one table, under their directories' names, whatever stands in those.
TEST_F(ReadingFiles, TwoFitsAreCompared) {
  const auto a = fitted("a", 1.5), b = fitted("b:2", 4);
  ASSERT_EQ(run({"--readings", "learned:" + a + ",learned:" + b}).code, 0);
  std::set<std::string> readings;
  const auto document = json::parse(read_file(out_ + "/run.json"));
  for (const auto& row : document["rows"]) {
    readings.insert(row["reading"]);
  }
  EXPECT_EQ(readings, (std::set<std::string>{"all", "learned(a)", "learned(b:2)"}));
  EXPECT_EQ(document["configuration"]["reading_files"].size(), 2u);
}

TEST_F(ReadingFiles, OfAnotherModelAreErrorsOrNoted) {
  const auto hash = model_hash(model_);
  const auto name = std::filesystem::path(model_).filename().string();
  const auto note = "note: learned(fit) was fitted to another model than " + name +
                    ", or to other weights of it\n";
  const auto with = [&](const std::map<std::string, std::string>& about) {
    const auto outcome =
        run({"--readings", "learned:" + fitted("fit", 1.5, 2, about), "--overwrite"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return outcome.err;
  };
  EXPECT_EQ(with({{"model_hash", hash}}).find("note: learned"), std::string::npos);
  EXPECT_EQ(with({}).find("note: learned"), std::string::npos);
  EXPECT_NE(with({{"model_hash", sha256("another")}}).find(note), std::string::npos);

  const auto file = fitted("fit", 1.5, 3);
  const std::string wrong =
      "learned(fit): its numbers are [3, 2], of another model than this one of 2 layers with 2 "
      "heads";
  expect_error({"--readings", "learned:" + file, "--overwrite"}, 1, wrong);
  const auto eval = run_program(MOTET_EVAL, {"--tasks", "kv:pairs=4", "--length", "320", "--items",
                                             "1", "--readings", "learned:" + file});
  EXPECT_EQ(eval.err, "motet-eval: " + wrong + "\n");
  write_file(directory_ / "piece.txt", "One. Two.");
  const auto generate = run_program(
      MOTET_GENERATE,
      {"--pieces", directory_ / "piece.txt", "--query", "What?", "--reading", "learned:" + file});
  EXPECT_EQ(generate.err, "motet-generate: " + wrong + "\n");
}

}  // namespace
}  // namespace motet
