// motet-generate, run as a user runs it.

#include "motet/model/generate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "motet/model/weights.h"
#include "motet/text/tokenizer.h"
#include "program/program.h"
#include "temporary.h"

namespace motet {
namespace {

using nlohmann::json;

class Generate : public testing::Test {
 protected:
  Generate() {
    std::filesystem::create_directory(model_);
    write_published_gpt2(model_, 64);
    for (int i = 0; i < 3; ++i) {
      pieces_.push_back(directory_ / fmt::format("piece{}.txt", i));
      write_file(pieces_.back(), fmt::format("Passage number {} says so.\n", i));
    }
  }

  Outcome run(const std::vector<std::string>& arguments) const {
    std::vector<std::string> words{MOTET_GENERATE, "--model", model_, "--threads", "1"};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return Process(directory_.path(), words).wait();
  }
  std::vector<std::string> with_pieces(const std::vector<std::string>& more) const {
    std::vector<std::string> words{"--pieces"};
    words.insert(words.end(), pieces_.begin(), pieces_.end());
    words.insert(words.end(), {"--query", "What?", "--tokens", "5"});
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }

  TemporaryDirectory directory_;
  std::string model_ = directory_ / "model", out_ = directory_ / "out";
  std::vector<std::string> pieces_;
};

/// The text that the library gives for the same tokens, from logits of one whole pass a token.
TEST_F(Generate, GoesOnAsTheLibraryDoes) {
  const auto model = load_model(model_);
  const auto tokenizer = Tokenizer::load(model_);
  for (const auto* mode : {"full", "parallel", "sink", "selective", "both"}) {
    SCOPED_TRACE(mode);
    const auto outcome = run(with_pieces({"--mode", mode, "--prefix", "Read:\\n"}));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const std::string name = mode;
    std::vector<int64_t> tokens, lengths;
    if (name == "sink" || name == "both") tokens = tokenizer.encode("Read:\n").ids;
    const auto prefix = static_cast<int64_t>(tokens.size());
    for (const auto& path : pieces_) {
      const auto more = tokenizer.encode(read_file(path)).ids;
      tokens.insert(tokens.end(), more.begin(), more.end());
      lengths.push_back(static_cast<int64_t>(more.size()));
    }
    if (name == "full") lengths = {static_cast<int64_t>(tokens.size())};
    const auto context = encode(*model, tokens, make_layout(prefix, lengths));
    auto query = tokenizer.encode("What?").ids;
    const auto asked = query.size();
    const All all;
    const Select select;
    const Reading& reading =
        name == "selective" || name == "both" ? static_cast<const Reading&>(select) : all;
    for (int i = 0; i < 5; ++i) {
      query.push_back(read(*model, context, query, reading)[-1].argmax().item<int64_t>());
    }
    EXPECT_EQ(outcome.out,
              tokenizer.decode(std::vector<int64_t>(query.begin() + asked, query.end())) + "\n");
  }
}

TEST_F(Generate, SamplesTheSameWithTheSameSeed) {
  const auto with_seed = [&](const char* seed) {
    return run(with_pieces({"--temperature", "2", "--seed", seed})).out;
  };
  EXPECT_EQ(with_seed("1"), with_seed("1"));
  EXPECT_NE(with_seed("1"), with_seed("2"));
}

TEST_F(Generate, AnswersLinesOfDocumentsAndKeepsThem) {
  const std::string lines = directory_ / "documents.jsonl";
  write_file(lines,
             "{\"pieces\": [\"One.\", \"Two.\"], \"query\": \"Which?\"}\n\n"
             "{\"prefix\": \"Read.\", \"pieces\": [\"Three.\"], \"query\": \"What?\"}\n");
  const auto outcome =
      run({"--documents", lines, "--tokens", "3", "--mode", "sink", "--probe", "--out", out_});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("[2] What?\n"), std::string::npos) << outcome.out;
  const auto answers = read_file(out_ + "/answers.jsonl");
  const auto first = json::parse(answers.substr(0, answers.find('\n')));
  EXPECT_EQ(first["query"], "Which?");
  EXPECT_EQ(first["tokens"].size(), 3u);
  ASSERT_EQ(first["statistics"].size(), 3u);
  for (const auto& token : first["statistics"]) {
    EXPECT_GT(token["entropy"].get<double>(), 0);
    EXPECT_GT(token["mass_own"].get<double>(), 0);
    EXPECT_GE(token["top_piece"].get<int>(), 1);
    EXPECT_LE(token["top_piece"].get<int>(), 2);
  }
  EXPECT_EQ(run({"--documents", lines, "--out", out_}).err,
            "motet-generate: " + out_ + ": holds answers already; --overwrite replaces them\n");
}

TEST_F(Generate, ErrorsSayWhatIsWrong) {
  const auto expect = [&](const std::vector<std::string>& arguments, int code,
                          const std::string& error) {
    const auto outcome = run(arguments);
    EXPECT_EQ(outcome.code, code);
    EXPECT_EQ(outcome.err, "motet-generate: " + error +
                               (code == 2 ? "\nRun it with --help for its options.\n" : "\n"));
  };
  expect({}, 2, "give --pieces FILE... or --documents FILE.jsonl");
  expect({"--pieces", pieces_[0]}, 2, "--pieces needs --query TEXT");
  expect(with_pieces({"--top-p", "1.5"}), 2,
         "motet::Sampler: top_p = 1.5; it is above 0, at most 1");
  expect(
      with_pieces({"--chat"}), 1,
      "--chat: " + model_ +
          " has no <|im_start|> and <|im_end|>: it is not a ChatML model; write its template into "
          "--prefix and --query");
  const std::string lines = directory_ / "documents.jsonl";
  write_file(lines, "{\"pieces\": [\"One.\"], \"query\": \"?\"}\n{\"pieces\": []}\n");
  expect({"--documents", lines}, 1, lines + ":2: a line is {\"pieces\": [texts], \"query\": text}");
  expect(with_pieces({"--mode", "selective", "--select", "4"}), 1,
         "motet::Select: K = 4 of 3 pieces cannot be kept; choose a smaller K or more pieces");
}

}  // namespace
}  // namespace motet
