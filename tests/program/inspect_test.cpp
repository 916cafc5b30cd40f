// motet-inspect, run as a user runs it.

#include <gtest/gtest.h>

#include "program/program.h"
#include "temporary.h"

namespace motet {
namespace {

class Inspect : public testing::Test {
 protected:
  Inspect() {
    std::filesystem::create_directory(model_);
    write_published_gpt2(model_, 64);
  }
  Outcome run(std::vector<std::string> arguments) const {
    arguments.insert(arguments.begin(), {MOTET_INSPECT, model_});
    return Process(directory_.path(), arguments).wait();
  }

  TemporaryDirectory directory_;
  std::string model_ = directory_ / "model";
};

TEST_F(Inspect, SaysWhatAModelIsAndNeeds) {
  const auto outcome = run({"--length", "64"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(
      outcome.out,
      "family       gpt2\n"
      "layers       2 of width 8, MLP 32 (gelu_new)\n"
      "heads        2 of 4 features, 2 of keys and values\n"
      "positions    64, learned: there are no more\n"
      "vocabulary   50257, output tied to the embedding\n"
      "tensors      30 in 1 file: 0.4 M Float, 1.6 MiB\n"
      "tokenizer    50257 tokens\n"
      "memory       weights 1.5 MiB, keys and values of 64 tokens 0.0 MiB (128 bytes a token), "
      "in float32\n"
      "             it loads\n");
  EXPECT_NE(run({"--tensors"}).out.find("\n  h.1.mlp.c_fc.weight "), std::string::npos);
}

TEST_F(Inspect, SaysWhyAModelCannotBeLoadedAndShowsTheRest) {
  write_file(std::filesystem::path(model_) / "config.json", "{\"model_type\": \"mamba\"}");
  const auto outcome = run({});
  EXPECT_EQ(outcome.code, 1);
  const auto why = model_ +
                   "/config.json: the model family 'mamba' is not known here; known: gemma2, "
                   "gemma3_text, gpt2, gpt_neox, llama, mistral, olmo2, phi3, qwen2, qwen3";
  EXPECT_EQ(outcome.err, "motet-inspect: it cannot be loaded: " + why + "\n");
  EXPECT_EQ(outcome.out.substr(0, outcome.out.find('\n')), "config       " + why);
  EXPECT_NE(outcome.out.find("tokenizer    50257 tokens"), std::string::npos);
}

}  // namespace
}  // namespace motet
