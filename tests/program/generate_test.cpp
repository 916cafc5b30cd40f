// motet-generate, run as a user runs it.

#include "motet/model/generate.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "motet/context/layout.h"
#include "motet/files/lock.h"
#include "motet/files/safetensors.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/reading/reading.h"
#include "motet/reading/select.h"
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
    const std::string name = mode;
    std::vector<std::string> options{"--mode", mode};
    std::vector<int64_t> tokens, lengths;
    if (name == "sink" || name == "both") {
      options.insert(options.end(), {"--prefix", "Read:\\n"});
      tokens = tokenizer.encode("Read:\n").ids;
    }
    const auto outcome = run(with_pieces(options));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
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

TEST_F(Generate, BosComesFirst) {
  const auto model = load_model(model_);
  const auto tokenizer = Tokenizer::load(model_);
  std::vector<int64_t> tokens{50256}, lengths;  // GPT-2's <|endoftext|>
  for (const auto& path : pieces_) {
    const auto more = tokenizer.encode(read_file(path)).ids;
    tokens.insert(tokens.end(), more.begin(), more.end());
    lengths.push_back(static_cast<int64_t>(more.size()));
  }
  const auto context = encode(*model, tokens, make_layout(1, lengths));
  const auto next = read(*model, context, tokenizer.encode("What?").ids)[-1].argmax();
  const auto first = tokenizer.decode(std::vector<int64_t>{next.item<int64_t>()});
  EXPECT_EQ(run(with_pieces({"--bos"})).out.substr(0, first.size()), first);
}

TEST_F(Generate, SamplesTheSameWithTheSameSeed) {
  const auto with_seed = [&](const char* seed) {
    return run(with_pieces({"--temperature", "2", "--top-p", "0.99", "--seed", seed})).out;
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
  // Goes on where it stopped, and never with other settings.
  const auto again = [&](const std::vector<std::string>& more) {
    std::vector<std::string> words{"--documents", lines,     "--tokens", "3",  "--mode",
                                   "sink",        "--probe", "--out",    out_, "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  EXPECT_EQ(again({}).err, "motet-generate: " + out_ +
                               ": holds answers already; --resume goes on with them, --overwrite "
                               "replaces them\n");
  write_file(out_ + "/answers.jsonl", answers.substr(0, answers.find('\n') + 1));
  const auto resumed = again({"--resume"});
  EXPECT_EQ(resumed.out.substr(0, resumed.out.find('\n', 1)), "\n[2] What?");
  EXPECT_EQ(read_file(out_ + "/answers.jsonl"), answers);
  EXPECT_EQ(again({"--resume", "--temperature", "1"}).err,
            "motet-generate: " + out_ +
                "/answers.jsonl:1: was made with another temperature: 0.0, this command has 1.0; "
                "choose another --out\n");
  EXPECT_EQ(again({"--resume", "--ablate", "0.0"}).err,
            "motet-generate: " + out_ +
                "/answers.jsonl:1: was made with another ablate: none, this command has \"0.0\"; "
                "choose another --out\n");
  EXPECT_NE(
      run({"--documents", lines, "--tokens", "4", "--mode", "sink", "--out", out_, "--resume"})
          .err.find("another tokens_at_most: 3"),
      std::string::npos);
  auto changed = read_file(lines);
  changed.replace(changed.find("One."), 4, "Six.");
  write_file(lines, changed);
  EXPECT_NE(again({"--resume"}).err.find("was made with another context: "), std::string::npos);
  const auto left_out = run({"--documents", lines, "--tokens", "1"});
  EXPECT_EQ(left_out.err, "note: --mode parallel leaves out the prefix of 1 line\n");
}

TEST_F(Generate, UnitsAreDealtToPiecesAndTokenisedByThemselves) {
  const std::string lines = directory_ / "documents.jsonl";
  const auto answer_of = [&](const json& line) {
    write_file(lines, line.dump());
    const auto outcome =
        run({"--documents", lines, "--tokens", "4", "--quiet", "--out", out_, "--overwrite"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return json::parse(read_file(out_ + "/answers.jsonl"));
  };
  const json units{"One and", " two.", "Three."};
  const auto each = answer_of({{"units", units}, {"query", "x"}});
  EXPECT_EQ(each["tokens"], answer_of({{"pieces", units}, {"query", "x"}})["tokens"]);
  const auto two = answer_of({{"units", units}, {"pieces", 2}, {"query", "x"}});
  EXPECT_NE(two["context"], each["context"]);
  // 5 pieces of 3 units are 3.
  EXPECT_EQ(answer_of({{"units", units}, {"pieces", 5}, {"query", "x"}})["context"],
            each["context"]);
  write_file(lines, json{{"units", units}, {"pieces", "two"}, {"query", "x"}}.dump());
  EXPECT_EQ(run({"--documents", lines}).err,
            "motet-generate: " + lines +
                ":1: 'pieces' is \"two\"; beside 'units' it is their number, at least 1\n");
  write_file(lines, json{{"units", units}, {"pieces", 2}, {"query", "x"}}.dump());
  EXPECT_EQ(run({"--documents", lines, "--mode", "selective", "--select", "3"}).err,
            "motet-generate: --select 3: " + lines +
                ":1: there are 2 pieces\nRun it with --help for its options.\n");
}

TEST_F(Generate, OneProgramAtATime) {
  const auto lines = directory_ / "lines.jsonl";
  write_file(lines, R"({"pieces": ["one two"], "query": "three"})");
  std::filesystem::create_directory(out_);
  const DirectoryLock at_work(out_);  // as another program
  const auto outcome = run({"--documents", lines, "--tokens", "1", "--out", out_, "--quiet"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err, "motet-generate: " + out_ +
                             ": another process is at work in it; wait, stop that one first, or "
                             "choose another directory\n");
  EXPECT_TRUE(std::filesystem::is_empty(out_));
}

/// A model of this directory whose answer is `token`, for ever, in a vocabulary of `rows`.
void make_constant(const std::string& directory, int64_t token, int64_t rows = 50257) {
  const auto file = SafeTensors::open_model(directory);
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& name : file.names()) tensors[name] = file.tensor(name).clone();
  tensors["ln_f.weight"].zero_();
  tensors["ln_f.bias"].zero_();
  tensors["ln_f.bias"][0] = 1;
  auto& tokens = tensors["wte.weight"];
  tokens = torch::cat({tokens, torch::zeros({rows - tokens.size(0), tokens.size(1)})});
  tokens.select(1, 0).zero_();
  tokens[token][0] = 1;
  save_safetensors(directory + "/model.safetensors", tensors);
  auto config = json::parse(read_file(directory + "/config.json"));
  config["vocab_size"] = rows;
  write_file(directory + "/config.json", config.dump());
}

/// What generation_config.json says outweighs config.json, and null there is none.
TEST_F(Generate, EndsWhereTheDirectorySays) {
  make_constant(model_, 5);  // "&"
  auto config = json::parse(read_file(model_ + "/config.json"));
  const auto answer = [&](const json& in_config, const std::string& generation) {
    config["eos_token_id"] = in_config;
    write_file(model_ + "/config.json", config.dump());
    std::filesystem::remove(model_ + "/generation_config.json");
    if (!generation.empty()) write_file(model_ + "/generation_config.json", generation);
    return run(with_pieces({"--quiet"})).out;
  };
  EXPECT_EQ(answer(0, ""), "&&&&&\n");
  EXPECT_EQ(answer(5, ""), "\n");
  EXPECT_EQ(answer(0, R"({"eos_token_id": 5})"), "\n");
  EXPECT_EQ(answer(0, R"({"eos_token_id": [7, 5]})"), "\n");
  EXPECT_EQ(answer(5, R"({"eos_token_id": null})"), "&&&&&\n");
  EXPECT_EQ(answer(5, R"({"temperature": 0.5})"), "&&&&&\n");
  write_file(model_ + "/generation_config.json", R"({"eos_token_id": "5"})");
  EXPECT_EQ(run(with_pieces({})).err,
            "motet-generate: " + model_ +
                "/generation_config.json: 'eos_token_id' is \"5\"; a token, a list of tokens or "
                "null is wanted\n");
}

TEST_F(Generate, GoesOnOverIdsWithoutAToken) {
  make_constant(model_, 50260, 50272);
  const auto lines = directory_ / "lines.jsonl";
  write_file(lines,
             "{\"pieces\": [\"One.\"], \"query\": \"x\"}\n{\"pieces\": [\"Two.\"], \"query\": "
             "\"y\"}\n");
  const auto outcome = run({"--documents", lines, "--tokens", "3", "--out", out_});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const auto answers = read_file(out_ + "/answers.jsonl");
  const auto second = json::parse(answers.substr(answers.find('\n') + 1));
  EXPECT_EQ(second["answer"], "");
  EXPECT_EQ(second["tokens"], (std::vector<int64_t>{50260, 50260, 50260}));
}

TEST_F(Generate, EndsAnAnswerWhereTheTableEnds) {
  make_constant(model_, 5);
  const auto lines = directory_ / "lines.jsonl";
  std::string piece;
  for (int i = 0; i < 58; ++i) piece += " a";
  write_file(lines, json{{"pieces", {piece}}, {"query", " a"}}.dump() + "\n" +
                        json{{"pieces", {"Two."}}, {"query", " a"}}.dump() + "\n");
  const auto outcome = run({"--documents", lines, "--tokens", "9", "--out", out_});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "note: this answer ends where the model's table of 64 positions does\n");
  const auto answers = read_file(out_ + "/answers.jsonl");
  // 58 tokens, the query, and five more that were read; the sixth was only drawn.
  EXPECT_EQ(json::parse(answers.substr(0, answers.find('\n')))["answer"], "&&&&&&");
  EXPECT_EQ(json::parse(answers.substr(answers.find('\n') + 1))["answer"], "&&&&&&&&&");
}

TEST_F(Generate, AskTheModelsOwnTemplateWhetherItIsChatMl) {
  auto tokenizer = json::parse(R"({"added_tokens": [], "model": {"type": "BPE", "merges": [],
    "vocab": {"<|im_start|>": 0, "<|im_end|>": 1, "a": 2}}})");
  write_file(model_ + "/tokenizer.json", tokenizer.dump());
  const auto chat = [&] { return run(with_pieces({"--chat"})).err; };
  const std::string inst = "{{ '[INST] ' + messages[0]['content'] }}";
  const auto words = [&](const std::string& file) {
    return "motet-generate: --chat: the template of " + model_ + "/" + file +
           " is not ChatML; write it into the texts\n";
  };
  write_file(model_ + "/tokenizer_config.json", json{{"chat_template", inst}}.dump());
  EXPECT_EQ(chat(), words("tokenizer_config.json"));
  write_file(
      model_ + "/tokenizer_config.json",
      json{{"chat_template", {{{"name", "default"}, {"template", "<|im_start|>system"}}}}}.dump());
  EXPECT_EQ(chat().find("note: the model's chat template may put a system message first"), 0u);
  EXPECT_EQ(run(with_pieces({"--chat", "--system", "a", "--quiet"})).code, 0);
  write_file(model_ + "/tokenizer_config.json",
             json{{"chat_template",
                   {{{"name", "tool"}, {"template", inst}},
                    {{"name", "default"}, {"template", "<|im_start|>"}}}}}
                 .dump());
  EXPECT_EQ(run(with_pieces({"--chat", "--quiet"})).code, 0);  // of several, this one counts
  write_file(model_ + "/chat_template.jinja", inst);
  EXPECT_EQ(chat(), words("chat_template.jinja"));
  std::filesystem::remove(model_ + "/chat_template.jinja");
  write_file(model_ + "/tokenizer_config.json", "{not json");
  EXPECT_EQ(chat().find("motet-generate: " + model_ + "/tokenizer_config.json: not JSON at byte"),
            0u);
}

TEST_F(Generate, WeightsThatAreNoNumbersAreNoAnswer) {
  const auto file = SafeTensors::open_model(model_);
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& name : file.names()) tensors[name] = file.tensor(name).clone();
  tensors["wpe.weight"][0][0] = std::nan("");
  save_safetensors(model_ + "/model.safetensors", tensors);
  const auto outcome = run(with_pieces({}));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("logits are not finite"), std::string::npos) << outcome.err;
}

TEST_F(Generate, AVerySmallTemperatureIsGreedy) {
  EXPECT_EQ(run(with_pieces({"--temperature", "1e-308"})).out, run(with_pieces({})).out);
}

TEST_F(Generate, AnAblatedHeadChangesWhatIsRead) {
  const auto outcome = run(with_pieces({"--ablate", "0.0,0.1,1.0,1.1"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out, run(with_pieces({})).out);
  write_file(directory_ / "heads", "0.0\n0.1\n1.0\n1.1\n");
  EXPECT_EQ(run(with_pieces({"--ablate", directory_ / "heads"})).out, outcome.out);
  // Answers have the heads themselves, and do not go on with others of one file.
  const auto kept = [&](const std::vector<std::string>& more) {
    auto words = with_pieces({"--ablate", directory_ / "heads", "--out", out_});
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  EXPECT_EQ(kept({}).code, 0);
  EXPECT_EQ(json::parse(read_file(out_ + "/answers.jsonl"))["ablate"], "0.0,0.1,1.0,1.1");
  write_file(directory_ / "heads", "0.0");
  EXPECT_NE(kept({"--resume"}).err.find("was made with another ablate: \"0.0,0.1,1.0,1.1\""),
            std::string::npos);
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
  expect(with_pieces({"--select", "2"}), 2,
         "--select 2: --mode parallel reads every piece; selective and both select");
  expect(with_pieces({"--mode", "both", "--reading", "soft", "--select", "2"}), 2,
         "--select 2: --reading soft takes the place of what the mode selects; write --reading "
         "select:2");
  expect(with_pieces({"--mode", "full", "--reading", "soft"}), 2,
         "--reading soft: --mode full has one piece, and reads it all");
  expect(with_pieces({"--prefix", "x"}), 2,
         "--prefix: --mode parallel has none; sink and both have");
  expect(with_pieces({"--top-p", "0.9"}), 2,
         "--top-p 0.9: at --temperature 0 the most likely token is taken, always");
  expect(with_pieces({"--resume"}), 2, "--resume and --overwrite need --out DIR");
  expect(with_pieces({"--ablate", "0.7"}), 1,
         "motet::Ablation: head 0.7, but the model has 2 layers of 2 heads, counted from 0");
  expect(with_pieces({"--ablate", "x"}), 2,
         "--ablate: 'x' is no head; LAYER.HEAD is, as 3.0, and no file has this name");
  expect(with_pieces({"--temperature", "1", "--top-p", "1.5"}), 2,
         "motet::Sampler: top_p = 1.5; it is above 0, at most 1");
  expect(
      with_pieces({"--chat"}), 1,
      "--chat: " + model_ +
          " has no <|im_start|> and <|im_end|>: it is not a ChatML model; write its template into "
          "the texts");
  const std::string lines = directory_ / "documents.jsonl";
  write_file(lines, "{\"pieces\": [\"One.\"], \"query\": \"?\"}\n{\"pieces\": []}\n");
  expect({"--documents", lines}, 1, lines + ":2: a line is {\"pieces\": [texts], \"query\": text}");
  expect(with_pieces({"--mode", "selective", "--select", "4"}), 2,
         "--select 4: there are 3 pieces");
}

}  // namespace
}  // namespace motet
