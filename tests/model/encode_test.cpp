#include "motet/model/encode.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <limits>
#include <numeric>

#include "golden_models.h"
#include "motet/context/layout.h"
#include "motet/model/forward.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/probe/entropy.h"
#include "motet/probe/mass.h"
#include "motet/reading/reading.h"
#include "motet/reading/select.h"
#include "motet/reading/weigh.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

const Tokens kContext = some_tokens(2 + 9 + 4 + 7);
const Tokens kQuery = some_tokens(6, 11);

/// float64 models of both families: only the order of sums differs between two ways to the same
/// figure.
class Encode : public testing::TestWithParam<std::string> {
 protected:
  std::shared_ptr<Decoder> model_ = golden(GetParam(), torch::kFloat64);
  Layout layout_ = make_layout(2, {9, 4, 7});
};

INSTANTIATE_TEST_SUITE_P(Families, Encode,
                         testing::Values("llama_default", "llama_yarn", "gpt2_default"),
                         [](const auto& info) { return info.param; });

TEST_P(Encode, AChoiceOfAllLayersReadsEveryTokenOnce) {
  const auto context = encode(*model_, kContext, layout_);
  const Select every({.pieces = 3, .layers = true}), one({.pieces = 1, .layers = true});
  EXPECT_LT(max_error(read(*model_, context, kQuery, every), read(*model_, context, kQuery)),
            1e-12);
  // Own keys of the first pass are not kept: a query in two parts sees what it sees in one.
  EntropyProbe entropy;
  MassProbe mass;
  Reader reader(*model_, context, one, {&entropy, &mass});
  const auto first = reader.read(Tokens(kQuery.begin(), kQuery.begin() + 4));
  const auto second = reader.read(Tokens(kQuery.begin() + 4, kQuery.end()));
  EXPECT_LT(
      max_error(model_->logits(torch::cat({first, second})), read(*model_, context, kQuery, one)),
      1e-12);
  EXPECT_EQ(entropy.entropy().rows().size(3), static_cast<int64_t>(kQuery.size()));
  // The same pieces in every layer, and only one of them.
  const auto kept = mass.mass().rows().slice(4, 1, 4) > 0;  // [layers, batch, heads, rows, pieces]
  EXPECT_TRUE((kept.sum(4) == 1).all().item<bool>());
  EXPECT_TRUE((kept == kept.slice(0, 0, 1)).all().item<bool>());
}

/// Keeps everything, halves the scores of the first piece, and notes what it is shown.
struct Halving : Reading {
  explicit Halving(bool layers) : layers(layers) {}
  std::string name() const override { return "halving"; }
  ReadingNeeds needs() const override { return {.scores = !layers, .layers = layers}; }
  KeySets prepare(KeySets sets, const PieceSets& meaning) const override {
    return sets.with_factor(meaning.piece(0), 0.5);
  }
  std::optional<Tensor> decide(const PieceScores& scores) const override {
    shown.push_back(scores.lse);
    return {};
  }
  std::vector<std::optional<Tensor>> decide_layers(
      const std::vector<PieceScores>& scores) const override {
    for (const auto& layer : scores) {
      shown.push_back(layer.lse);
    }
    return std::vector<std::optional<Tensor>>(scores.size());
  }
  bool layers;
  mutable std::vector<Tensor> shown;
};

TEST_P(Encode, ADecisionOfAllLayersIsShownPreparedScores) {
  const auto context = encode(*model_, kContext, layout_);
  const Halving each(false), all(true);
  const auto expected = read(*model_, context, kQuery, each);
  EXPECT_LT(max_error(read(*model_, context, kQuery, all), expected), 1e-12);
  ASSERT_EQ(all.shown.size(), each.shown.size());
  for (std::size_t layer = 0; layer < all.shown.size(); ++layer) {
    EXPECT_LT(max_error(all.shown[layer], each.shown[layer]), 1e-12);
  }
}

TEST_P(Encode, ForwardDecidesAsReadDoes) {
  const auto shared = std::make_shared<const Select>(SelectOptions{.pieces = 1, .layers = true});
  const auto temper = std::make_shared<const Temper>();
  auto tokens = kContext;
  tokens.insert(tokens.end(), kQuery.begin(), kQuery.end());
  const auto context = encode(*model_, kContext, layout_);
  for (const auto& reading :
       std::initializer_list<std::shared_ptr<const Reading>>{shared, temper}) {
    const at::NoGradGuard no_grad;
    const auto hidden = forward(*model_, torch::tensor(tokens).unsqueeze(0), layout_, reading);
    EXPECT_LT(max_error(model_->logits(hidden[0].slice(0, kContext.size())),
                        read(*model_, context, kQuery, *reading)),
              1e-12)
        << reading->name();
  }
}

TEST_P(Encode, OrderOfPiecesDoesNotMatterToAQuery) {
  auto context = encode(*model_, kContext, layout_);
  const auto expected = read(*model_, context, kQuery);
  std::swap(context.pieces[0], context.pieces[2]);
  EXPECT_LT(max_error(read(*model_, context, kQuery), expected), 1e-12);
}

TEST_P(Encode, PackedRowEqualsOnePieceAtATime) {
  const auto packed = encode(*model_, kContext, layout_);
  int64_t first = 2;
  for (std::size_t i = 0; i < layout_.pieces.size(); ++i) {
    const auto last = first + layout_.pieces[i];
    auto alone = make_layout(2, {layout_.pieces[i]});
    std::copy(layout_.positions.begin() + first, layout_.positions.begin() + last,
              alone.positions.begin() + 2);
    Tokens tokens(kContext.begin(), kContext.begin() + 2);
    tokens.insert(tokens.end(), kContext.begin() + first, kContext.begin() + last);
    const auto context = encode(*model_, tokens, alone);
    for (int64_t layer = 0; layer < model_->config().layers; ++layer) {
      EXPECT_LT(max_error(context.pieces[0].keys[layer], packed.pieces[i].keys[layer]), 1e-12);
      EXPECT_LT(max_error(context.pieces[0].values[layer], packed.pieces[i].values[layer]), 1e-12);
    }
    first = last;
  }
}

TEST_P(Encode, ADroppedPieceIsAsIfItWereNotThere) {
  class Without : public Reading {
   public:
    std::string name() const override { return "without piece 2"; }
    ReadingNeeds needs() const override { return {.scores = true}; }
    std::optional<Tensor> decide(const PieceScores& scores) const override {
      auto log_weight = torch::zeros_like(scores.lse);
      log_weight.select(3, 2).fill_(-std::numeric_limits<double>::infinity());
      return log_weight;
    }
  };
  auto context = encode(*model_, kContext, layout_);
  const auto dropped = read(*model_, context, kQuery, Without());
  context.pieces.erase(context.pieces.begin() + 1);
  EXPECT_LT(max_error(read(*model_, context, kQuery), dropped), 1e-12);
}

TEST_P(Encode, SelectOfAllPiecesEqualsAll) {
  const auto context = encode(*model_, kContext, layout_);
  EXPECT_TRUE(torch::equal(read(*model_, context, kQuery, Select({.pieces = 3})),
                           read(*model_, context, kQuery, All())));
}

TEST_P(Encode, ABatchOfQueriesEqualsEachAlone) {
  const auto context = encode(*model_, kContext, layout_);
  const std::vector<Tokens> queries{kQuery, some_tokens(3, 5), some_tokens(1, 9)};
  const Select select(
      {.pieces = 2, .rows = true});  // shared by the rows of one query, not by the batch
  Reader together(*model_, context, select);
  const auto hidden = together.read(queries);
  const std::vector<Tokens> next{{1}, {2, 3}, {4}};
  const auto more = together.read(next);
  int64_t row = 0, next_row = 0;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    Reader alone(*model_, context, select);
    const auto first = alone.read(queries[i]), second = alone.read(next[i]);
    EXPECT_LT(max_error(hidden.slice(0, row, row + first.size(0)), first), 1e-12);
    EXPECT_LT(max_error(more.slice(0, next_row, next_row + second.size(0)), second), 1e-12);
    row += first.size(0);
    next_row += second.size(0);
  }
}

/// Several contexts, readings, numbers of queries and first passes in one call.
TEST_P(Encode, ReadersReadTogetherAsEachAlone) {
  const auto three = encode(*model_, kContext, layout_);
  const auto two = encode(*model_, kContext, make_layout(0, {12, 10}));
  const Select select({.pieces = 1}), layers({.pieces = 2, .layers = true});
  const All all;
  const std::vector<Reader::Queries> first{{kQuery}, {some_tokens(3, 5), {1}}, {{2, 3}}},
      second{{{4}}, {{5}, {6, 7}}, {some_tokens(4, 2)}};
  std::deque<Reader> together, alone;
  std::deque<EntropyProbe> probes;
  for (auto* readers : {&together, &alone}) {
    readers->emplace_back(*model_, three, select, Probes{&probes.emplace_back()});
    readers->emplace_back(*model_, two, all, Probes{&probes.emplace_back()});
    readers->emplace_back(*model_, three, layers, Probes{&probes.emplace_back()});
  }
  const std::vector<Reader*> readers{&together[0], &together[1], &together[2]};
  for (const auto& queries : {first, second}) {
    const auto rows = read_together(readers, queries);
    ASSERT_EQ(rows.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_LT(max_error(rows[i], alone[i].read(queries[i])), 1e-12) << i;
    }
  }
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_LT(max_error(probes[i].entropy().rows(), probes[i + 3].entropy().rows()), 1e-12);
  }
  // Readers that are done leave, and others go on.
  const auto rows = read_together(std::vector<Reader*>{&together[2]}, {{{{8}}}});
  EXPECT_LT(max_error(rows[0], alone[2].read({8})), 1e-12);
  EXPECT_TRUE(read_together({}, {}).empty());
}

TEST_P(Encode, TokenByTokenEqualsAtOnce) {
  const auto context = encode(*model_, kContext, layout_);
  const Select select({.pieces = 1});
  Reader at_once(*model_, context, select), one_by_one(*model_, context, select);
  const auto expected = at_once.read(kQuery);
  std::vector<Tensor> rows;
  for (const auto token : kQuery) rows.push_back(one_by_one.read(Tokens{token}));
  EXPECT_LT(max_error(torch::cat(rows), expected), 1e-12);
}

TEST_P(Encode, ThePackedForwardPassEqualsEncodeAndRead) {
  for (const bool selective : {false, true}) {
    const Select select({.pieces = 2});
    const auto reading = selective ? std::shared_ptr<const Reading>(new Select(select))
                                   : std::make_shared<const All>();
    auto other = kContext;
    std::reverse(other.begin() + 2, other.end());
    std::vector<Tensor> expected, tokens;
    for (const auto& context : {kContext, other}) {
      const auto encoded = encode(*model_, context, layout_);
      expected.push_back(read(*model_, encoded, kQuery, *reading));
      auto row = context;
      row.insert(row.end(), kQuery.begin(), kQuery.end());
      tokens.push_back(torch::tensor(row, torch::kInt64));
    }
    const auto hidden = forward(*model_, torch::stack(tokens), layout_, reading);
    const auto logits = model_->logits(hidden.slice(1, layout_.tokens()));
    EXPECT_LT(max_error(logits, torch::stack(expected)), 1e-12);
  }
}

TEST_P(Encode, GradientsReachEveryParameterAndAreRight) {
  auto tokens = kContext;
  tokens.insert(tokens.end(), kQuery.begin(), kQuery.end());
  const auto row = torch::tensor(tokens, torch::kInt64).unsqueeze(0);
  const auto loss = [&] {
    const auto logits = model_->logits(forward(*model_, row, layout_, Select({.pieces = 2})));
    return torch::nll_loss(logits[0].slice(0, 0, -1).log_softmax(-1), row[0].slice(0, 1));
  };
  model_->zero_grad();
  loss().backward();
  for (const auto& item : model_->named_parameters()) {
    auto parameter = item.value();
    const auto gradient = parameter.grad();
    ASSERT_TRUE(gradient.defined()) << item.key();
    EXPECT_TRUE(gradient.isfinite().all().item<bool>()) << item.key();
    // Along the gradient the loss rises by |gradient|^2 a step: a central difference.
    const auto step = 1e-6 / gradient.norm().item<double>();
    const at::NoGradGuard no_grad;
    parameter.add_(gradient, step);
    const auto above = loss().item<double>();
    parameter.sub_(gradient, 2 * step);
    const auto below = loss().item<double>();
    parameter.add_(gradient, step);
    const auto norm = gradient.norm().item<double>();
    EXPECT_NEAR((above - below) / 2e-6, norm, 1e-6 + 1e-5 * norm) << item.key();
  }
}

TEST_P(Encode, ProbesChangeNothingAndSeeWhatTheyAskFor) {
  class Watcher : public Probe {
   public:
    explicit Watcher(ProbeNeeds needs) : needs_(needs) {}
    ProbeNeeds needs() const override { return needs_; }
    void observe(const Observation& seen) override { seen_.push_back(seen); }
    ProbeNeeds needs_;
    std::vector<Observation> seen_;
  };
  const auto plain_context = encode(*model_, kContext, layout_);
  const auto plain = read(*model_, plain_context, kQuery);
  Watcher nothing({}), rows({.rows = true}), keys({.query_keys_values = true});
  EntropyProbe entropy;
  const auto context = encode(*model_, kContext, layout_, {&nothing, &rows, &keys, &entropy});
  EXPECT_TRUE(torch::equal(read(*model_, context, kQuery, All(), {&nothing}), plain));
  EXPECT_FALSE(nothing.seen_.back().row.lse.defined());
  EXPECT_TRUE(torch::equal(read(*model_, context, kQuery, All(), {&rows}), plain));
  EXPECT_TRUE(rows.seen_.back().row.lse.defined());
  EXPECT_FALSE(rows.seen_.back().row.entropy.defined());
  EXPECT_TRUE(torch::equal(read(*model_, context, kQuery, All(), {&keys, &entropy}), plain));
  const auto& last = keys.seen_.back();
  EXPECT_EQ(last.layer, 1);
  EXPECT_EQ(last.kind, RowKind::kQuery);
  EXPECT_EQ(last.keys.size(), 5u);  // prefix, three pieces, own
  const auto again =
      reference::attend(last.query, torch::cat(last.keys, 2), torch::cat(last.values, 2),
                        read_sets(2, {9, 4, 7}, {6}, {0}));
  EXPECT_LT(max_error(entropy.entropy().rows()[1], again.entropy), 1e-12);
  EXPECT_EQ(keys.seen_.front().kind, RowKind::kContext);
  EXPECT_EQ(keys.seen_.size(), 4u);  // two layers, two passes
}

/// Ordinary causal attention, without a context.
class Causal : public Attention {
 public:
  Tensor attend(int64_t, const Tensor& query, const Tensor& keys, const Tensor& values,
                const ScoreRule& rule) override {
    const auto rows = query.size(2);
    return motet::attend(query, keys, values, causal_keys(rows, rows), {}, {.rule = rule}).out;
  }
};

TEST_P(Encode, AnObserverSeesTheResidualStreamAndChangesNothing) {
  std::vector<int64_t> layers, positions(kQuery.size());
  std::iota(positions.begin(), positions.end(), 0);
  std::vector<Tensor> seen;
  Causal attention;
  const at::NoGradGuard no_grad;
  const auto tokens = torch::tensor(kQuery).unsqueeze(0);
  const auto hidden = model_->forward(tokens, positions, attention, [&](int64_t layer, Tensor x) {
    layers.push_back(layer);
    seen.push_back(x);
  });
  EXPECT_TRUE(torch::equal(hidden, model_->forward(tokens, positions, attention)));
  std::vector<int64_t> expected(model_->config().layers + 1);
  std::iota(expected.begin(), expected.end(), 0);
  EXPECT_EQ(layers, expected);
  for (const auto& x : seen) EXPECT_EQ(x.sizes(), hidden.sizes());
  // First the embedding; last what the final norm norms: the same row gives the same hidden row.
  if (!model_->config().learned_positions()) {
    EXPECT_TRUE(torch::equal(
        seen.front()[0], at::embedding(model_->named_parameters()["tokens.weight"], tokens[0])));
    const auto x = seen.back();
    const auto scale = (x.pow(2).mean(-1, true) + model_->config().norm_epsilon).rsqrt();
    EXPECT_LT(max_error(hidden, x * scale * model_->named_parameters()["norm.weight"]), 1e-12);
  }
}

TEST(Positions, AContextLongerThanTheTableReadsInPieces) {
  const auto model =
      load_model(std::filesystem::path(MOTET_GOLDEN) / "gpt2_published");  // 40 positions
  const auto tokens = some_tokens(60);
  const auto context = encode(*model, tokens, make_layout(0, split_tokens(60, 4)));
  EXPECT_EQ(read(*model, context, some_tokens(25)).sizes(), (torch::IntArrayRef{25, 40}));
  EXPECT_EQ(
      message([&] { read(*model, context, some_tokens(26)); }),
      "motet::Reader: a query that starts at position 15 needs 41 positions, the model's table "
      "has 40; split the context into more pieces, or shorten it or the query");
  EXPECT_EQ(message([&] {
              encode(*model, tokens, make_layout(0, {41, 19}));
            }),
            "motet::encode: the context needs 41 positions, the model's table has 40; split the "
            "context into more pieces, or shorten it or the query");
}

TEST(Reader, ErrorsSayWhatDoesNotFit) {
  const auto model = load_model(std::filesystem::path(MOTET_GOLDEN) / "llama_default");
  const auto other = load_model(std::filesystem::path(MOTET_GOLDEN) / "llama_one_kv_head");
  const auto context = encode(*model, some_tokens(10), make_layout(0, {10}));
  const All all;
  EXPECT_EQ(message([&] { Reader(*other, context, all); }),
            "motet::Reader: piece 1 holds keys of [1, 2, 10, 4], the model makes [1, 1, 10, 4]");
  EXPECT_EQ(message([&] { read(*model, context, {}); }), "motet::Reader: the query has no tokens");
  EXPECT_EQ(message([&] {
              read(*model, context, {3, 40});
            }),
            "motet::Reader: token 40 is not in the vocabulary of 40");
  EXPECT_EQ(message([&] { read(*model, context, {-1}); }),
            "motet::Reader: token -1 is not in the vocabulary of 40");
  EXPECT_EQ(message([&] { encode(*model, some_tokens(9), make_layout(0, {10})); }),
            "motet::encode: 9 tokens, but the layout places 10");
  Reader reader(*model, context, all);
  reader.read(std::vector<Tokens>{{1}, {2}});
  EXPECT_EQ(message([&] { reader.read(Tokens{1}); }),
            "motet::Reader: 1 queries after a batch of 2");
  const auto together = [&](std::vector<Reader*> readers, std::vector<Reader::Queries> queries) {
    return message([&] { read_together(readers, queries); });
  };
  EXPECT_EQ(together({&reader}, {}), "motet::read_together: 1 readers, queries for 0");
  EXPECT_EQ(together({&reader, &reader}, {{{1}, {2}}, {{1}, {2}}}),
            "motet::read_together: reader 2 comes twice; copy it");
  const auto of_other = encode(*other, some_tokens(10), make_layout(0, {10}));
  Reader another(*other, of_other, all);
  EXPECT_EQ(together({&reader, &another}, {{{1}, {2}}, {{1}}}),
            "motet::read_together: reader 2 is of another model than the first");
  // What is refused changes nothing.
  Reader good(*model, context, all), bad(*model, context, all);
  EXPECT_EQ(together({&good, &bad}, {{{1}}, {{}}}), "motet::Reader: the query has no tokens");
  EXPECT_EQ(message([&] {
              bad.read(std::vector<Tokens>{{1}, {40}});
            }),
            "motet::Reader: token 40 is not in the vocabulary of 40");
  Reader fresh(*model, context, all);
  const auto expected = fresh.read({3});
  EXPECT_TRUE(torch::equal(good.read({3}), expected));
  EXPECT_TRUE(torch::equal(bad.read({3}), expected));  // one query, not a batch of two
}

/// A query that has reached LongRope's long factors may be done before others.
TEST(Reader, ABatchReachesAsFarAsItsLongestQuery) {
  const auto model = golden("phi3_long", torch::kFloat64);  // of 32 positions at first
  EncodedContext nothing, far;
  far.reach = 40;
  const All all;
  Reader together(*model, nothing, all), alone(*model, far, all);
  together.read(std::vector<Tokens>{some_tokens(40), {1}});
  alone.read(Tokens{1});
  EXPECT_LT(max_error(together.read(std::vector<Tokens>{{}, {2}}), alone.read(Tokens{2})), 1e-12);
}

}  // namespace
}  // namespace motet
