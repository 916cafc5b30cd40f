// The short programs of examples/, run as a reader runs them.

#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <map>
#include <sstream>

#include "motet/context/layout.h"
#include "motet/eval/predictions.h"
#include "motet/files/safetensors.h"
#include "motet/model/encode.h"
#include "motet/model/forward.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/probe/entropy.h"
#include "motet/reading/reading.h"
#include "motet/reading/select.h"
#include "motet/text/tokenizer.h"
#include "motet/train/loss.h"
#include "motet/train/text_rows.h"
#include "program/program.h"
#include "temporary.h"

namespace motet {
namespace {

const std::string kText = MOTET_EXAMPLE_DATA "/alice.txt";

/// A tiny model, and what the examples read: four pieces and a query.
class Examples : public testing::Test {
 protected:
  Examples() {
    std::filesystem::create_directory(path_);
    write_published_gpt2(path_, 512);
    sharpen();
    model_ = load_model(path_);
    const auto tokens = Tokenizer::load(path_).encode(read_file(kText)).ids;
    const auto query = tokens.begin() + 900;
    query_ = {query, query + 100};
    targets_ = {query + 1, query + 101};
    context_ = encode(*model_, {tokens.begin(), query}, make_layout(0, split_tokens(900, 4)));
  }
  /// Doubles the weights of queries and keys (and values): else every row of so small a model is
  /// nearly uniform.
  void sharpen() const {
    const auto file = SafeTensors::open_model(path_);
    std::map<std::string, torch::Tensor> tensors;
    for (const auto& name : file.names()) {
      tensors[name] = file.tensor(name) * (name.ends_with("attn.c_attn.weight") ? 2 : 1);
    }
    save_safetensors(std::filesystem::path(path_) / "model.safetensors", tensors);
  }
  Outcome run(const std::string& name, std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), std::string(MOTET_EXAMPLES "/") + name);
    return Process(directory_.path(), arguments).wait();
  }
  double nll(const Reading& reading) const {
    const auto hidden = Reader(*model_, context_, reading).read(query_);
    return predict(*model_, hidden, targets_).nll.mean().item<double>();
  }

  TemporaryDirectory directory_;
  std::string path_ = directory_ / "model";
  std::shared_ptr<Decoder> model_;
  std::vector<int64_t> query_, targets_;
  EncodedContext context_;
};

TEST_F(Examples, OwnProbeCountsRowsAboveThreeNats) {
  EntropyProbe entropy;
  read(*model_, context_, query_, All(), {&entropy});
  const auto counts = (entropy.entropy().rows() > 3).sum({1, 3});  // [layers, heads]
  ASSERT_TRUE(((counts > 0) & (counts < 100)).any().item<bool>()) << counts;
  std::ostringstream expected;
  expected << counts << '\n';

  const auto outcome = run("own_probe", {path_, kText});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out, expected.str());
}

TEST_F(Examples, OwnReadingKeepsThePiecesThatAreNear) {
  // A share of 1 keeps the best piece alone, as `select` does where all probabilities of a piece
  // make its score; a share of 0 keeps all.
  const auto best = nll(Select({.pieces = 1, .top = 225})), all = nll(All());
  ASSERT_GT(std::abs(best - all), 1e-3);
  for (const auto& [share, expected] : {std::pair("1", best), std::pair("0", all)}) {
    const auto outcome = run("own_reading", {path_, kText, share});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    const auto value_of = [&](const std::string& label) {
      const auto from = outcome.out.find(label);
      const auto colon = outcome.out.find(": ", from);
      return colon == std::string::npos ? -1 : std::stod(outcome.out.substr(colon + 2));
    };
    constexpr double kPrinted = 1e-4;  // six digits
    EXPECT_NEAR(value_of("near("), expected, kPrinted) << outcome.out;
    EXPECT_NEAR(value_of("parallel"), all, kPrinted) << outcome.out;
  }
}

/// Adam's first step is as long as its learning rate, whatever the gradient; the loss before it is
/// that of ordinary reading.
TEST_F(Examples, FitReadingStepsItsTwoParameters) {
  const auto outcome = run("fit_reading", {path_, kText, "3"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  double loss = 0, a = 0, b = 0;
  ASSERT_EQ(std::sscanf(outcome.out.c_str(), "1: %lf nats a token; a %lf, b %lf", &loss, &a, &b), 3)
      << outcome.out;
  EXPECT_NEAR(std::abs(a), 0.05, 1e-4);
  EXPECT_NEAR(std::abs(b), 0.05, 1e-4);
  const Cut cut(100, {.pieces = 4, .scored = 25});
  const auto tokens = Tokenizer::load(path_).encode(read_file(kText)).ids;
  const auto row = ShuffledRows(text_rows(tokens, 100), 1).take(0, 1);
  const auto hidden = forward(*model_, cut.tokens(row), cut.layout());
  EXPECT_NEAR(loss, next_token_loss(*model_, hidden, cut.targets(row)).item<double>(), 1e-3);
  EXPECT_NE(outcome.out.find("\n3: "), std::string::npos) << outcome.out;
}

/// Of 25 rows that are scored most see none of the pieces.
TEST_F(Examples, FitReadingLearnsBehindAWindow) {
  const std::string path = directory_ / "window", text = directory_ / "letters.txt";
  std::filesystem::copy(MOTET_GOLDEN "/mistral_window", path);
  nlohmann::json vocabulary;
  std::string letters;
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    vocabulary[std::string(1, letter)] = letter - 'a';
  }
  for (int i = 0; i < 300; ++i) letters += static_cast<char>('a' + (i * i + 3 * i) % 26);
  write_file(path + "/vocab.json", vocabulary.dump());
  write_file(path + "/merges.txt", "#version: 0.2\n");
  write_file(text, letters);
  const auto outcome = run("fit_reading", {path, text, "2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  double a = 0, b = 0;
  ASSERT_EQ(std::sscanf(outcome.out.c_str(), "1: %*f nats a token; a %lf, b %lf", &a, &b), 2);
  EXPECT_NEAR(std::abs(a), 0.05, 1e-4) << outcome.out;
  EXPECT_NEAR(std::abs(b), 0.05, 1e-4) << outcome.out;
}

TEST_F(Examples, OwnFamilyComputesWhatTheShippedOneDoes) {
  const auto outcome = run("own_family", {MOTET_GOLDEN "/qwen2_default"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto half = outcome.out.size() / 2;
  EXPECT_NE(outcome.out.find("CPUFloatType{2,40}"), std::string::npos) << outcome.out;
  EXPECT_EQ(outcome.out.substr(0, half), outcome.out.substr(half));
}

TEST_F(Examples, DifferentiableRowsMoveWhatTheirLossReads) {
  const auto outcome = run("differentiable_rows", {});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  std::vector<std::array<double, 3>> steps;  // entropy, lse, mass
  std::istringstream lines(outcome.out);
  for (std::string line; std::getline(lines, line);) {
    auto& [entropy, lse, mass] = steps.emplace_back();
    const auto from = line.rfind("entropy ");
    ASSERT_NE(from, std::string::npos) << line;
    ASSERT_EQ(
        std::sscanf(line.c_str() + from, "entropy %lf nats lse %lf mass of the 8 largest keys %lf",
                    &entropy, &lse, &mass),
        3)
        << line;
  }
  ASSERT_EQ(steps.size(), 4u) << outcome.out;
  EXPECT_LT(steps[1][0], steps[0][0]);
  EXPECT_LT(steps[2][1], steps[1][1]);
  EXPECT_GT(steps[3][2], steps[2][2]);
}

TEST_F(Examples, SayWhatTheyWant) {
  EXPECT_EQ(run("own_probe", {}).err, "own_probe: wanted: own_probe MODEL TEXT\n");
  const auto brief = directory_ / "brief.txt";
  write_file(brief, "Alice");
  EXPECT_EQ(run("own_probe", {path_, brief}).err,
            "own_probe: " + brief.string() + ": has 1 tokens; 1000 wanted\n");
  EXPECT_EQ(run("own_reading", {path_, brief, "1"}).code, 1);
}

}  // namespace
}  // namespace motet
