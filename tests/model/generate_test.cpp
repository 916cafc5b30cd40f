#include "motet/model/generate.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <filesystem>

#include "motet/context/layout.h"
#include "motet/files/atomic.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/reading/reading.h"
#include "temporary.h"

namespace motet {
namespace {

TEST(Sampler, AtTemperatureZeroTakesTheMostLikely) {
  Sampler sampler;
  EXPECT_EQ(sampler.draw(torch::tensor({1.0, 3.0, 2.0})), 1);
}

/// 4,000 draws: three standard errors of a share of a half are 0.024.
TEST(Sampler, DrawsAsOftenAsTheProbabilitiesSay) {
  const auto logits = torch::tensor({0.5, 0.3, 0.15, 0.05}).log();
  const auto shares = [&](SamplingOptions options) {
    Sampler sampler(options);
    auto counts = torch::zeros({4}, torch::kFloat64);
    for (int i = 0; i < 4000; ++i) counts[sampler.draw(logits)] += 1.0 / 4000;
    return counts;
  };
  const auto near = [](const torch::Tensor& shares, std::vector<double> expected) {
    return (shares - torch::tensor(expected, torch::kFloat64)).abs().max().item<double>() < 0.024;
  };
  EXPECT_TRUE(near(shares({.temperature = 1}), {0.5, 0.3, 0.15, 0.05}));
  EXPECT_TRUE(near(shares({.temperature = 0.5}), {0.685, 0.247, 0.062, 0.007}));
  EXPECT_TRUE(near(shares({.temperature = 1, .top_p = 0.75}), {0.625, 0.375, 0, 0}));
  EXPECT_TRUE(near(shares({.temperature = 1, .top_p = 0.5}), {1, 0, 0, 0}));
  EXPECT_TRUE(
      torch::equal(shares({.temperature = 1, .seed = 3}), shares({.temperature = 1, .seed = 3})));
}

TEST(Sampler, ErrorsNameTheField) {
  EXPECT_EQ(message([] { Sampler({.temperature = -1}); }),
            "motet::Sampler: temperature = -1; it is 0 or above");
  EXPECT_EQ(message([] { Sampler({.top_p = 0}); }),
            "motet::Sampler: top_p = 0; it is above 0, at most 1");
}

TEST(EndTokens, AreTheFamilysOwnWhereConfigJsonIsSilent) {
  const TemporaryDirectory directory;
  const auto end = [&](const std::string& config) {
    write_file(directory / "config.json", config);
    return end_tokens(directory.path());
  };
  const std::vector<int64_t> none;
  EXPECT_EQ(end(R"({"model_type": "gpt2"})"), std::vector<int64_t>{50256});
  EXPECT_EQ(end(R"({"model_type": "phi3"})"), std::vector<int64_t>{32000});
  EXPECT_EQ(end(R"({"model_type": "qwen2"})"), none);
  EXPECT_EQ(end(R"({"model_type": "gpt2", "eos_token_id": 7})"), std::vector<int64_t>{7});
  EXPECT_EQ(end(R"({"model_type": "gpt2", "eos_token_id": null})"), none);
  write_file(directory / "generation_config.json", "{}");
  EXPECT_EQ(end(R"({"model_type": "gpt2"})"), none);
}

TEST(Generate, StopsAtATokenAtACallAndAtTheLimit) {
  const auto model = load_model(std::filesystem::path(MOTET_GOLDEN) / "llama_default");
  const auto context = encode(*model, {3, 4, 5, 6}, make_layout(0, {2, 2}));
  const All all;
  const auto run = [&](const GenerateOptions& options, const OnToken& on_token = {}) {
    Reader reader(*model, context, all);
    return generate(*model, reader, {7, 8}, options, on_token);
  };
  const auto tokens = run({.tokens = 6});
  ASSERT_EQ(tokens.size(), 6u);
  EXPECT_TRUE(run({.tokens = 0}).empty());
  const auto stop = tokens[3];
  const auto first = std::find(tokens.begin(), tokens.end(), stop);
  EXPECT_EQ(run({.tokens = 6, .stop = {stop}}), std::vector<int64_t>(tokens.begin(), first));
  int64_t calls = 0;
  EXPECT_EQ(run({.tokens = 6}, [&](int64_t) { return ++calls < 2; }).size(), 2u);
}

}  // namespace
}  // namespace motet
