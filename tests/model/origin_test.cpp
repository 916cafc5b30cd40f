#include <gtest/gtest.h>
#include <torch/types.h>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "temporary.h"

/// Which pieces a reader takes: those of its model, behind its context's prefix.
namespace motet {
namespace {

const Tokens kContext = some_tokens(2 + 5 + 4);
const Layout kLayout = make_layout(2, {5, 4}, Positions::kLeft);

/// Another prefix of as many tokens.
Tokens other_prefix() {
  auto tokens = kContext;
  tokens[0] = (tokens[0] + 1) % 10;
  return tokens;
}

TEST(Origin, PiecesOfOneModelBehindOnePrefixMayBeMixed) {
  const auto model = golden("llama_default", torch::kFloat64);
  auto context = encode(*model, kContext, kLayout);
  auto reversed = context;
  std::swap(reversed.pieces[0], reversed.pieces[1]);
  auto elsewhere = encode(*model, kContext, kLayout);
  context.pieces[1] = elsewhere.pieces[1];
  EXPECT_LT(
      (read(*model, reversed, {1, 2}) - read(*model, context, {1, 2})).abs().max().item<double>(),
      1e-12);
  EXPECT_EQ(context.pieces[0].origin.model, model->fingerprint());
  EXPECT_EQ(context.pieces[0].origin.prefix, Tokens(kContext.begin(), kContext.begin() + 2));
  EXPECT_TRUE(context.prefix.origin.prefix.empty());
}

TEST(Origin, AnothersPiecesAreRefusedInWords) {
  const auto model = golden("llama_default", torch::kFloat64);
  const auto other = golden("llama_default", torch::kFloat64);
  {
    const at::NoGradGuard no_grad;
    other->named_parameters()["norm.weight"][0].add_(1);  // one number of all
  }
  const auto context = encode(*other, kContext, kLayout);
  EXPECT_EQ(message([&] { read(*model, context, {1}); }),
            "motet::Reader: the prefix was encoded by another model, or by this one with other "
            "weights (fingerprint " +
                other->fingerprint().substr(0, 12) + ", this one has " +
                model->fingerprint().substr(0, 12) +
                "); encode it again, or set its `origin` where that is meant");
  auto mixed = encode(*model, kContext, kLayout);
  mixed.pieces[1] = context.pieces[1];
  EXPECT_EQ(message([&] { read(*model, mixed, {1}); }).substr(0, 58),
            "motet::Reader: piece 2 was encoded by another model, or by");
  mixed.pieces[1] = encode(*model, other_prefix(), kLayout).pieces[1];
  EXPECT_EQ(message([&] { read(*model, mixed, {1}); }),
            "motet::Reader: piece 2 saw a prefix of 2 tokens, which is not the context's of 2; "
            "encode it again behind that");
  mixed.pieces[1].origin = {};
  EXPECT_EQ(message([&] { read(*model, mixed, {1}); }),
            "motet::Reader: piece 2 does not say which model made it; set its `origin` to the "
            "fingerprint of that model and the tokens of the prefix that it saw");
}

TEST(Fingerprint, IsOfWhatIsComputed) {
  const auto model = golden("gpt2_default", torch::kFloat32);
  const auto before = model->fingerprint();
  EXPECT_EQ(before.size(), 64u);
  EXPECT_EQ(golden("gpt2_default", torch::kFloat32)->fingerprint(), before);
  EXPECT_NE(golden("gpt2_default", torch::kFloat64)->fingerprint(), before);
  EXPECT_NE(golden("gpt2_relu", torch::kFloat32)->fingerprint(), before);
  auto config = model->config();
  config.source["_name_or_path"] = "another name";
  const auto copy = [&](const Config& of) {
    auto made = std::make_shared<Decoder>(of);
    const at::NoGradGuard no_grad;
    auto to = made->parameters();
    const auto from = model->parameters();
    for (std::size_t i = 0; i < to.size(); ++i) to[i].copy_(from[i]);
    return made->fingerprint();
  };
  EXPECT_EQ(copy(config), before);
  config.norm_epsilon *= 2;
  EXPECT_NE(copy(config), before);
}

TEST(Fingerprint, FollowsWhatIsWritten) {
  const auto model = golden("gpt2_default", torch::kFloat32);
  const auto before = model->fingerprint();
  auto weight = model->named_parameters()["layers.1.up.weight"];
  const auto kept = weight.detach().clone();
  {
    const at::NoGradGuard no_grad;
    weight[0][0] += 1;
    EXPECT_NE(model->fingerprint(), before);
    weight.copy_(kept);
  }
  EXPECT_EQ(model->fingerprint(), before);
  weight.set_data(kept + 1);
  EXPECT_NE(model->fingerprint(), before);
}

}  // namespace
}  // namespace motet
