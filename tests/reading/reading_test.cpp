#include "motet/reading/reading.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <vector>

#include "attention/shapes.h"
#include "kernels.h"
#include "motet/attention/kernel.h"
#include "motet/attention/rows.h"
#include "motet/context/layout.h"
#include "motet/context/piece_sets.h"
#include "motet/files/mapped.h"
#include "motet/files/safetensors.h"
#include "motet/files/sha256.h"
#include "motet/reading/learned.h"
#include "motet/reading/read_rows.h"
#include "motet/reading/registry.h"
#include "motet/reading/select.h"
#include "motet/reading/topk.h"
#include "motet/reading/weigh.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int64_t kPieces = 3, kHeads = 6, kRows = 6;

struct Case {
  Tensor query, keys;
  KeySets sets{5, kRows, 26, reading_spans()};
  PieceScores scores;
};

/// A prefix, pieces of 5, 1 and 9 keys, and rows that belong to two queries (0..3 and 4..5).
Case make_case() {
  torch::manual_seed(5);
  Case made;
  made.query = torch::randn({1, kHeads, kRows, 8}, torch::kFloat64) * 2;
  made.keys = torch::randn({1, 2, 26, 8}, torch::kFloat64);
  made.scores = {score(made.query, made.keys, made.sets, 5), PieceSets(kPieces), {0, 4, kRows}};
  return made;
}

/// The probabilities of every key that a row sees, piece by piece, from the definition.
std::vector<std::vector<double>> piece_probabilities(const Case& made, int64_t head, int64_t row) {
  const auto seen = reference::visible(made.sets, row);
  const auto s = made.keys[0][head / 3]
                     .index_select(0, torch::tensor(seen.keys))
                     .matmul(made.query[0][head][row]) /
                 std::sqrt(8.0);
  const auto p = s.softmax(0);
  std::vector<std::vector<double>> pieces(kPieces);
  for (std::size_t j = 0; j < seen.keys.size(); ++j) {
    if (seen.sets[j] >= 1 && seen.sets[j] <= kPieces) {
      pieces[seen.sets[j] - 1].push_back(p[j].item<double>());
    }
  }
  return pieces;
}

double sum_of_largest(std::vector<double> x, std::size_t count) {
  std::sort(x.rbegin(), x.rend());
  return std::accumulate(x.begin(), x.begin() + std::min(count, x.size()), 0.0);
}

struct Aggregation {
  const char* name;
  bool heads, rows;
  friend std::ostream& operator<<(std::ostream& out, const Aggregation& of) {
    return out << of.name;
  }
};

class SelectOver : public testing::TestWithParam<Aggregation> {};

INSTANTIATE_TEST_SUITE_P(Aggregations, SelectOver,
                         testing::Values(Aggregation{"Nothing", false, false},
                                         Aggregation{"Heads", true, false},
                                         Aggregation{"Rows", false, true},
                                         Aggregation{"HeadsAndRows", true, true}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(SelectOver, KeepsThePiecesThatTheDefinitionKeeps) {
  const auto [name, heads, rows] = GetParam();
  const auto made = make_case();
  const auto log_weight =
      *Select({.pieces = 2, .top = 5, .heads = heads, .rows = rows}).decide(made.scores);
  const auto query_of = [](int64_t row) { return row < 4 ? 0 : 1; };
  for (int64_t head = 0; head < kHeads; ++head) {
    for (int64_t row = 0; row < kRows; ++row) {
      std::vector<double> shared;
      for (int64_t piece = 0; piece < kPieces; ++piece) {
        std::vector<double> scores;  // of everything that shares this choice
        for (int64_t h = 0; h < kHeads; ++h) {
          for (int64_t i = 0; i < kRows; ++i) {
            const bool same_head = heads || h == head;
            const bool same_row = rows ? query_of(i) == query_of(row) : i == row;
            if (same_head && same_row) {
              scores.push_back(sum_of_largest(piece_probabilities(made, h, i)[piece], 5));
            }
          }
        }
        shared.push_back(sum_of_largest(scores, 5));
      }
      const auto worst = std::min_element(shared.begin(), shared.end()) - shared.begin();
      for (int64_t set = 0; set < kPieces + 2; ++set) {
        EXPECT_EQ(log_weight[0][head][row][set].item<double>(), set == worst + 1 ? -kInfinity : 0)
            << "head " << head << " row " << row << " set " << set;
      }
    }
  }
}

TEST(Select, OfAllPiecesEqualsAll) {
  const auto made = make_case();
  EXPECT_TRUE((*Select({.pieces = kPieces}).decide(made.scores) == 0).all().item<bool>());
  EXPECT_FALSE(All().decide(made.scores).has_value());
}

TEST(Select, GivesTiesToTheLowerIndex) {
  auto made = make_case();
  made.scores.top.fill_(1);
  const auto log_weight = *Select({.pieces = 2}).decide(made.scores);
  EXPECT_TRUE((log_weight.slice(3, 0, 3) == 0).all().item<bool>());
  EXPECT_TRUE((log_weight.select(3, 3) == -kInfinity).all().item<bool>());
  EXPECT_TRUE((log_weight.select(3, 4) == 0).all().item<bool>());
}

TEST(Select, ErrorsNameTheNumbers) {
  const auto made = make_case();
  EXPECT_EQ(message([&] { Select({.pieces = 4}).decide(made.scores); }),
            "motet::Select: K = 4 of 3 pieces cannot be kept; choose a smaller K or more pieces");
  EXPECT_EQ(message([] { Select({.pieces = 0}); }),
            "motet::Select: pieces = 0; at least 1 is kept");
  EXPECT_EQ(message([] { Select({.top = 0}); }),
            "motet::Select: top = 0; a piece's score is the sum of at least 1 probability");
}

/// The probability of each set under these log weights, from the definition.
Tensor masses(const PieceScores& scores, const Tensor& log_weight) {
  return (scores.lse + log_weight).softmax(3);
}

TEST(Select, OverLayersSharesOneChoiceMadeOfTheLargestScores) {
  auto first = make_case().scores, second = first;
  second.top = torch::randn_like(second.top) * 3;
  const Select select({.pieces = 1, .top = 5, .layers = true});
  EXPECT_EQ(select.name(), "select(K=1, r=5, over layers)");
  EXPECT_TRUE(select.needs().layers);
  const auto decided = select.decide_layers({first, second});
  for (int64_t head = 0; head < kHeads; ++head) {
    for (int64_t row = 0; row < kRows; ++row) {
      std::vector<double> shared(kPieces);
      for (const auto& scores : {first, second}) {
        const auto total = scores.lse[0][head][row].logsumexp(0).item<double>();
        for (int64_t piece = 0; piece < kPieces; ++piece) {
          shared[piece] += (scores.top[0][head][row][piece + 1] - total).exp().sum().item<double>();
        }
      }
      const auto best = std::max_element(shared.begin(), shared.end()) - shared.begin();
      for (const auto& log_weight : decided) {
        for (int64_t set = 0; set < kPieces + 2; ++set) {
          const bool kept = set == 0 || set == kPieces + 1 || set == best + 1;
          EXPECT_EQ((*log_weight)[0][head][row][set].item<double>(), kept ? 0 : -kInfinity);
        }
      }
    }
  }
  EXPECT_EQ(message([&] { select.decide(first); }),
            "motet::Select: a choice that all layers share needs the scores of all layers; use "
            "decide_layers");
}

TEST(Soft, DealsOutTheMassOfThePiecesByTheirScores) {
  const auto made = make_case();
  const auto before = masses(made.scores, torch::zeros_like(made.scores.lse));
  const auto after = masses(made.scores, *Soft(0.5).decide(made.scores));
  for (int64_t head = 0; head < kHeads; ++head) {
    for (int64_t row = 0; row < kRows; ++row) {
      std::vector<double> target;
      double total = 0, mass = 0;
      for (int64_t piece = 0; piece < kPieces; ++piece) {
        const auto score = sum_of_largest(piece_probabilities(made, head, row)[piece], 5);
        target.push_back(std::pow(score + 1e-5, 1 / 0.5));
        total += target.back();
        mass += before[0][head][row][piece + 1].item<double>();
      }
      for (int64_t piece = 0; piece < kPieces; ++piece) {
        EXPECT_NEAR(after[0][head][row][piece + 1].item<double>(), mass * target[piece] / total,
                    1e-12);
      }
      EXPECT_NEAR(after[0][head][row][0].item<double>(), before[0][head][row][0].item<double>(),
                  1e-12);
    }
  }
}

TEST(Sharpen, MergesPiecesWithAnExponent) {
  const auto made = make_case();
  const auto piece_lse = made.scores.lse.slice(3, 1, 1 + kPieces);
  const auto decided = *Sharpen(3).decide(made.scores);
  const auto effective = (made.scores.lse + decided).slice(3, 1, 1 + kPieces);
  // Shares go as exp(3 lse), and together they are (sum exp(3 lse))^(1/3).
  EXPECT_LT(max_error(effective.softmax(3), (3 * piece_lse).softmax(3)), 1e-12);
  EXPECT_LT(max_error(effective.logsumexp(3), (3 * piece_lse).logsumexp(3) / 3), 1e-12);
  EXPECT_LT(max_error(*Sharpen(1).decide(made.scores), torch::zeros_like(made.scores.lse)), 1e-12);
  const auto kept = masses(made.scores, *Sharpen(500).decide(made.scores)).slice(3, 1, 1 + kPieces);
  EXPECT_TRUE(torch::equal(kept.argmax(3), piece_lse.argmax(3)));
  EXPECT_LT((kept.sum(3) - std::get<0>(kept.max(3))).max().item<double>(), 1e-2);
}

/// In fp32 a million times an lse of 12 leaves nothing after the point.
TEST(Readings, KeepTheBestPieceAsItIsUnderALargeExponent) {
  auto scores = make_case().scores;
  scores.lse = torch::randn({1, kHeads, kRows, kPieces + 2}) * 3 + 12;
  const auto best = scores.piece_lse().argmax(3, true);
  for (const auto& decided :
       {*Sharpen(1e6).decide(scores), *Learned::pair(1e6, 0).decide(scores)}) {
    const auto of_best = scores.sets.pieces_in(decided).gather(3, best);
    EXPECT_LT(of_best.abs().max().item<double>(), 1e-3);
  }
}

TEST(Readings, OfNoPiecesShiftNoneAndWeighThePrefix) {
  auto scores = make_case().scores;
  scores.lse = scores.lse.slice(3, 0, 2);
  scores.sets = PieceSets(0);
  EXPECT_TRUE((*Sharpen(2).decide(scores) == 0).all().item<bool>());
  EXPECT_FALSE(Learned::pair(2, 1).decide(scores).has_value());
  const auto of = [](double value) { return torch::full({1, 1}, value, torch::kFloat64); };
  const auto decided = Learned({of(2), of(1), of(0.5)}).decide(scores);
  ASSERT_TRUE(decided.has_value());
  EXPECT_TRUE((scores.sets.prefix_in(*decided) == 0.5).all().item<bool>());
  EXPECT_TRUE((scores.sets.own_in(*decided) == 0).all().item<bool>());
}

TEST(Discount, TurnsTheSumOverPiecesIntoAMean) {
  const auto made = make_case();
  const auto decided = *Discount().decide(made.scores);
  EXPECT_TRUE((decided.slice(3, 1, 1 + kPieces) == -std::log(3.0)).all().item<bool>());
  EXPECT_TRUE((decided.select(3, 0) == 0).all().item<bool>());
  EXPECT_TRUE((decided.select(3, kPieces + 1) == 0).all().item<bool>());
  EXPECT_TRUE((*Discount(0).decide(made.scores) == 0).all().item<bool>());
}

/// Equation by equation: g = (b - 1) lse - (1 - 1/b) ln sum exp(b lse) - c ln P, head by head.
TEST(Learned, HasNumbersOfEachLayerAndHead) {
  auto made = make_case();
  made.scores.layer = 1;
  torch::manual_seed(8);
  const LearnedNumbers numbers{torch::rand({2, kHeads}, torch::kFloat64) + 0.5,
                               torch::randn({2, kHeads}, torch::kFloat64),
                               torch::randn({2, kHeads}, torch::kFloat64)};
  const auto decided = *Learned(numbers).decide(made.scores);
  for (int64_t head = 0; head < kHeads; ++head) {
    const auto b = numbers.exponent[1][head].item<double>(),
               c = numbers.discount[1][head].item<double>();
    for (int64_t row = 0; row < kRows; ++row) {
      double total = 0;
      for (int64_t piece = 1; piece <= kPieces; ++piece) {
        total += std::exp(b * made.scores.lse[0][head][row][piece].item<double>());
      }
      for (int64_t piece = 1; piece <= kPieces; ++piece) {
        const auto lse = made.scores.lse[0][head][row][piece].item<double>();
        EXPECT_NEAR(decided[0][head][row][piece].item<double>(),
                    (b - 1) * lse - (1 - 1 / b) * std::log(total) - c * std::log(kPieces), 1e-12);
      }
      EXPECT_NEAR(decided[0][head][row][0].item<double>(), numbers.prefix[1][head].item<double>(),
                  1e-12);
      EXPECT_EQ(decided[0][head][row][kPieces + 1].item<double>(), 0);
    }
  }
  const auto pair = *Learned::pair(3, 0.5).decide(made.scores);
  EXPECT_LT(max_error(pair, *Sharpen(3).decide(made.scores) + *Discount(0.5).decide(made.scores)),
            1e-12);
  EXPECT_EQ(reading_named("weigh:3:0.5")->name(), "weigh(b=3, c=0.5)");
}

TEST(Learned, IsSavedAndReadAgainAndSaysWhatIsWrong) {
  const TemporaryDirectory directory;
  const auto path = directory / "mine.safetensors";
  const Learned learned({torch::full({3, 1}, 1.25), torch::zeros({3, 2})});
  learned.save(path, {{"model", "a model"}});
  EXPECT_EQ(SafeTensors::open(path).metadata().at("model"), "a model");
  const auto again = reading_named("learned:" + std::string(path));
  EXPECT_EQ(again->name(), "learned(mine)");
  EXPECT_TRUE(torch::equal(dynamic_cast<const Learned&>(*again).numbers().exponent,
                           learned.numbers().exponent));
  auto made = make_case();
  made.scores.layer = 5;
  EXPECT_NE(
      message([&] { again->decide(made.scores); })
          .find("learned(mine): its numbers are [3, 1], of another model than this one, whose "
                "layer 5 has"),
      std::string::npos);
  for (const auto& [exponent, discount, wrong] :
       std::vector<std::tuple<double, double, std::string>>{
           {0, 0, "'exponent' has 0; numbers within 1e-06 and 1e+06 are wanted"},
           {1, -3e38, "'discount' has -3e+38; numbers within -1e+06 and 1e+06 are wanted"},
           {1, NAN, "'discount' has nan; numbers within -1e+06 and 1e+06 are wanted"}}) {
    save_safetensors(path, {{"exponent", torch::full({1, 1}, exponent)},
                            {"discount", torch::full({1, 1}, discount)}});
    EXPECT_EQ(message([&] { Learned::load(path); }),
              std::string(path) + ": motet::Learned: " + wrong);
  }
  EXPECT_EQ(message([] { Learned::pair(1e-6, 1e6); }), "no error");
  save_safetensors(path, {{"discount", torch::zeros({1, 1})}});
  EXPECT_EQ(message([&] { Learned::load(path); }),
            std::string(path) + ": has no tensor 'exponent'");
}

TEST(Learned, IsOfModelsOfItsLayersAndHeads) {
  const Learned learned({torch::ones({30, 9}), torch::ones({30, 1})}, "mine");
  EXPECT_EQ(message([&] { learned.check(30, 9); }), "no error");
  for (const auto& [layers, heads] : {std::pair(20, 9), {40, 9}, {30, 8}}) {
    EXPECT_EQ(message([&] { learned.check(layers, heads); }),
              "mine: its numbers are [30, 9], of another model than this one of " +
                  std::to_string(layers) + " layers with " + std::to_string(heads) + " heads");
  }
  EXPECT_EQ(message([] { Learned::pair(1, 1).check(5, 7); }), "no error");
}

/// What motet-finetune writes is called reading.safetensors, wherever it is.
TEST(Learned, IsToldFromOthersByItsDirectoryAndItsContents) {
  const TemporaryDirectory directory;
  const Learned learned({torch::full({1, 1}, 1.25), torch::zeros({1, 1})});
  EXPECT_FALSE(learned.source());
  std::vector<std::shared_ptr<Reading>> readings;
  for (const auto* name : {"a", "b:2"}) {
    std::filesystem::create_directory(directory / name);
    const auto path = directory / name / "reading.safetensors";
    learned.save(path, {{"model_hash", name}});
    readings.push_back(reading_named("learned:" + std::string(path)));
    EXPECT_EQ(readings.back()->name(), "learned(" + std::string(name) + ")");
    EXPECT_EQ(readings.back()->source()->hash, sha256(read_file(path)));
    EXPECT_EQ(readings.back()->source()->model_hash, name);
  }
  EXPECT_NE(readings[0]->source()->hash, readings[1]->source()->hash);
  EXPECT_EQ(Learned::load(directory / "a" / "." / "reading.safetensors").name(), "learned(a)");
}

TEST(Temper, DividesScoresOfPiecesAndMultipliesTheirLse) {
  auto made = make_case();
  const Temper temper(0.5, 0.8);
  const auto sets = temper.prepare(made.sets, PieceSets(kPieces));
  for (int64_t set = 0; set < 5; ++set) {
    EXPECT_EQ(sets.factor(set), set == 0 || set == 4 ? 1 : 2) << set;
  }
  const PieceScores scores{score(made.query, made.keys, sets, 0), PieceSets(kPieces), {0, kRows}};
  const auto pieces = (scores.lse + *temper.decide(scores)).slice(3, 1, 1 + kPieces);
  // APE: lse_C S T, where lse_C is that of the tempered scores.
  EXPECT_LT(max_error(pieces.logsumexp(3), 0.4 * scores.lse.slice(3, 1, 1 + kPieces).logsumexp(3)),
            1e-12);
  EXPECT_LT(max_error(*Temper(1, 1).decide(made.scores), torch::zeros_like(made.scores.lse)),
            1e-12);
}

TEST(Readings, ShiftNothingWhereAPieceHasNoKeys) {
  auto made = make_case();
  made.scores.lse.select(3, 2).fill_(-kInfinity);
  made.scores.top.select(3, 2).fill_(-kInfinity);
  for (const auto* name : {"soft:0.5", "sharpen:2", "discount:1", "temper:0.9:0.9", "weigh:2:1"}) {
    const auto decided = *reading_named(name)->decide(made.scores);
    EXPECT_TRUE(decided.isfinite().all().item<bool>()) << name;
    EXPECT_TRUE((decided.select(3, 2) == 0).all().item<bool>()) << name;
  }
}

/// As rows of a layer with a window: of some rows one piece is hidden, of others all are.
TEST(Readings, HaveGradientsWhereARowSeesNoPiece) {
  auto made = make_case();
  made.scores.lse.select(3, 2).fill_(-kInfinity);
  made.scores.lse.slice(2, 0, 2).slice(3, 1, 1 + kPieces).fill_(-kInfinity);
  for (const auto* name : {"soft:0.5", "sharpen:2", "discount:1", "temper:0.9:0.8", "weigh:2:1"}) {
    auto scores = made.scores;
    scores.lse = made.scores.lse.clone().requires_grad_();
    const auto decided = *reading_named(name)->decide(scores);
    EXPECT_TRUE(decided.isfinite().all().item<bool>()) << name;
    if (!decided.requires_grad()) continue;  // a constant
    decided.square().sum().backward();
    EXPECT_TRUE(scores.lse.grad().isfinite().all().item<bool>()) << name;
  }
}

TEST(Readings, AreFoundByTheirNames) {
  for (const auto& [text, name] : std::vector<std::pair<std::string, std::string>>{
           {"all", "all"},
           {"select", "select(K=2, r=5)"},
           {"select:3", "select(K=3, r=5)"},
           {"select:2:layers+heads+rows", "select(K=2, r=5, over layers+heads+rows)"},
           {"soft:0.5", "soft(T=0.5)"},
           {"sharpen", "sharpen(b=4)"},
           {"discount:2", "discount(c=2)"},
           {"temper:0.9:0.8", "temper(T=0.9, S=0.8)"},
           {"topk:16", "topk(k=16)"}}) {
    EXPECT_EQ(reading_named(text)->name(), name);
  }
  const std::string known =
      "; there are all, select[:K[:OVER]] (OVER: any of layers+heads+rows), soft[:T], sharpen[:B], "
      "discount[:C], temper[:T[:S]], weigh[:B[:C]], learned:FILE, null[:B], scale:ssmax[:S], "
      "scale:infoscale[:M], scale:entropy, guess[:K[:mean or diagonal or full or box or last or "
      "random]], "
      "topk:K and adaptive[:TAU[:full or diagonal[:mixture]]]";
  EXPECT_EQ(message([] { reading_named("sofd"); }), "the reading 'sofd': no such name" + known);
  EXPECT_EQ(message([] { reading_named("soft:warm"); }),
            "the reading 'soft:warm': 'warm' is not a number" + known);
  EXPECT_EQ(message([] { reading_named("soft:1:2"); }),
            "the reading 'soft:1:2': 2 options" + known);
  EXPECT_EQ(message([] { reading_named("select:2:heads+tails"); }),
            "the reading 'select:2:heads+tails': 'tails' is not a dimension" + known);
  EXPECT_EQ(message([] { reading_named("soft:-1"); }),
            "motet::Soft: temperature = -1; it is within 1e-06 and 1e+06");
  EXPECT_EQ(message([] { reading_named("topk"); }),
            "the reading 'topk': how many keys a row keeps is not given" + known);
  EXPECT_EQ(message([] { reading_named("topk:0"); }),
            "motet::TopK: keys = 0; a row keeps at least 1");
}

using ReadRowsByKernel = ByKernel;

INSTANTIATE_TEST_SUITE_P(Kernels, ReadRowsByKernel, testing::ValuesIn(tested_kernels()),
                         name_of_kernel);

/// A prefix of 5 keys, pieces of unequal lengths, and 45 rows of which 40 keys are earlier.
struct Long {
  std::vector<int64_t> pieces{70, 3, 150, 400, 33, 90, 1, 60};
  KeySets sets = read_sets(5, pieces, {45}, {40});
  Tensor query, keys, values;

  explicit Long(torch::ScalarType dtype = torch::kFloat32) {
    torch::manual_seed(3);
    query = (torch::randn({1, 6, 45, 16}) * 2).to(dtype);
    keys = (torch::randn({1, 2, sets.keys(), 16}) * 2).to(dtype);
    values = torch::randn({1, 2, sets.keys(), 16}).to(dtype);
  }
  PieceScores scores(const KeySets& seen) const {
    return {score(query, keys, seen, 5), PieceSets::of_sets(seen.sets()), {0, 45}};
  }
};

TEST_P(ReadRowsByKernel, ScoreDecideAndAttend) {
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
    const Long in(dtype);
    const double rounded = dtype == torch::kFloat32 ? 5e-5 : 0.02;  // as in rows_test.cpp
    for (const int64_t kept : {1, 2, 3, 8}) {
      SCOPED_TRACE(testing::Message() << kept << " pieces, " << dtype);
      const Select select({.pieces = kept});
      const auto found = read_rows(select, in.query, in.keys, in.values, in.sets, {0, 45});
      const auto log_weight = select.decide(in.scores(in.sets));
      EXPECT_TRUE(torch::equal(*found.log_weight, *log_weight));
      const auto twin =
          reference::attend(in.query, in.keys, in.values, in.sets, log_weight->to(torch::kFloat64));
      EXPECT_LT(max_error(found.row.out, twin.out), rounded);
      EXPECT_LT(max_error(found.row.lse, twin.lse), 5e-5);
      EXPECT_LT(max_error(found.row.entropy, twin.entropy), 5e-5);
      EXPECT_LT(max_error(found.row.set_lse, twin.set_lse), 5e-5);
      EXPECT_LT(max_error(found.row.set_entropy, twin.set_entropy), 5e-5);
    }
    const auto all = read_rows(All(), in.query, in.keys, in.values, in.sets, {0, 45});
    EXPECT_FALSE(all.log_weight.has_value());
    EXPECT_TRUE(torch::equal(all.row.out, attend(in.query, in.keys, in.values, in.sets).out));
  }
}

/// A reading made of another: its scores are halved first.
class HalvedSelect : public Select {
 public:
  using Select::Select;
  KeySets prepare(KeySets sets, const PieceSets& meaning) const override {
    for (int64_t piece = 0; piece < meaning.pieces(); ++piece) {
      sets = sets.with_factor(meaning.piece(piece), 0.5);
    }
    return sets;
  }
};

TEST_P(ReadRowsByKernel, PrepareSetsBeforeTheyChoose) {
  const Long in;
  const HalvedSelect select({.pieces = 2});
  const auto found = read_rows(select, in.query, in.keys, in.values, in.sets, {0, 45});
  const auto sets = select.prepare(in.sets, PieceSets::of_sets(in.sets.sets()));
  const auto log_weight = *select.decide(in.scores(sets));
  EXPECT_TRUE(torch::equal(*found.log_weight, log_weight));
  const auto twin =
      reference::attend(in.query, in.keys, in.values, sets, log_weight.to(torch::kFloat64));
  EXPECT_LT(max_error(found.row.out, twin.out), 5e-5);
  EXPECT_LT(max_error(found.row.entropy, twin.entropy), 5e-5);
}

TEST_P(ReadRowsByKernel, ChooseAmongWhatAThresholdLeaves) {
  const Long in;
  const RowOptions options{.threshold = torch::full({1, 6, 45}, 0.5)};
  const auto found =
      read_rows(Select({.pieces = 2}), in.query, in.keys, in.values, in.sets, {0, 45}, options);
  EXPECT_TRUE(torch::equal(*found.threshold, *options.threshold));
  const auto twin = reference::attend(in.query, in.keys, in.values, in.sets,
                                      found.log_weight->to(torch::kFloat64), options);
  EXPECT_LT(max_error(found.row.out, twin.out), 5e-5);
  EXPECT_LT(max_error(found.row.lse, twin.lse), 5e-5);
}

/// Of the pieces that are kept, keys that are among a row's largest.
class LargestOfSelected : public Reading {
 public:
  std::string name() const override { return "largest of selected"; }
  ReadingNeeds needs() const override {
    auto needs = select_.needs();
    needs.budget.keys = 20;
    return needs;
  }
  std::optional<Tensor> decide(const PieceScores& scores) const override {
    return select_.decide(scores);
  }
  std::optional<Tensor> threshold(const PieceScores& scores) const override {
    return scores.top_threshold;
  }

 private:
  Select select_{{.pieces = 2}};
};

/// Many rows may be read in one pass, few are read in two: both drop what is below the threshold.
TEST_P(ReadRowsByKernel, ChooseBesideABudgetInAnyNumberOfRows) {
  const Long in;
  const LargestOfSelected reading;
  const auto alone = read_rows(reading, in.query, in.keys, in.values, in.sets, {0, 45});
  const auto query = in.query.repeat({8, 1, 1, 1});
  const auto beside = read_rows(reading, query, in.keys, in.values, in.sets, {0, 45});
  ASSERT_TRUE(alone.threshold.has_value() && beside.threshold.has_value());
  EXPECT_LT(max_error(beside.row.out.slice(0, 0, 1), alone.row.out), 5e-5);  // as in rows_test.cpp
  EXPECT_LT(max_error(beside.row.lse.slice(0, 0, 1), alone.row.lse), 5e-5);
  const auto twin =
      reference::attend(in.query, in.keys, in.values, in.sets,
                        alone.log_weight->to(torch::kFloat64), {.threshold = alone.threshold});
  EXPECT_LT(max_error(alone.row.out, twin.out), 5e-5);
}

TEST_P(ReadRowsByKernel, CannotKeepMorePiecesThanThereAre) {
  const Long in;
  EXPECT_EQ(message([&] {
              read_rows(Select({.pieces = 9}), in.query, in.keys, in.values, in.sets, {0, 45});
            }),
            "motet::Select: K = 9 of 8 pieces cannot be kept; choose a smaller K or more pieces");
}

TEST_P(ReadRowsByKernel, GiveTiesToTheLowerIndex) {
  const KeySets sets = read_sets(0, {4, 4, 4, 4}, {20}, {0});
  const auto query = torch::ones({1, 1, 20, 8}), keys = torch::ones({1, 1, 36, 8});
  const auto log_weight =
      *read_rows(Select(), query, keys, keys, sets, {0, 20}).log_weight;  // keeps two
  EXPECT_TRUE((log_weight.slice(3, 0, 3) == 0).all().item<bool>());
  EXPECT_TRUE((log_weight.slice(3, 3, 5) == -kInfinity).all().item<bool>());
}

TEST_P(ReadRowsByKernel, AreNotTouchedByTheValuesOfWhatTheyDrop) {
  Long in;
  const auto clean = read_rows(Select(), in.query, in.keys, in.values, in.sets, {0, 45});
  const auto fourth = in.values.slice(2, 228, 628);
  fourth.fill_(std::nan(""));
  const auto poisoned = read_rows(Select(), in.query, in.keys, in.values, in.sets, {0, 45});
  const auto dropped = (clean.log_weight->select(3, 4) == -kInfinity).unsqueeze(-1);
  EXPECT_GT(dropped.sum().item<int64_t>(), 0);
  EXPECT_LT(dropped.sum().item<int64_t>(), dropped.numel());
  EXPECT_TRUE(
      torch::equal(poisoned.row.out.masked_select(dropped), clean.row.out.masked_select(dropped)));
  EXPECT_TRUE(poisoned.row.out.masked_select(dropped.logical_not()).isnan().all().item<bool>());
}

TEST_P(ReadRowsByKernel, KeepAPieceWithWhatIsNotANumber) {
  Long in;
  in.keys.select(2, 300).fill_(std::nan(""));  // of piece 4: keys 228 to 628
  for (const int64_t batch : {1, 8}) {         // few rows, and many, which are read in one pass
    const auto query = in.query.repeat({batch, 1, 1, 1});
    const auto found = read_rows(Select(), query, in.keys, in.values, in.sets, {0, 45});
    EXPECT_TRUE((found.log_weight->select(3, 4) == 0).all().item<bool>()) << batch;
    EXPECT_TRUE(found.row.out.isnan().all().item<bool>()) << batch;
  }
}

TEST_P(ReadRowsByKernel, KeepTheLargestKeysOfEachRow) {
  const Long in;
  for (const int64_t keys : {1, 4, 60}) {
    const TopK top(keys);
    const auto found = read_rows(top, in.query, in.keys, in.values, in.sets, {0, 45});
    EXPECT_FALSE(found.log_weight.has_value());
    // From the definition: the twin's threshold between the largest scores and the rest.
    const RowOptions budget{.budget = {.keys = keys}};
    const auto whole = reference::attend(in.query, in.keys, in.values, in.sets, {}, budget);
    const auto twin = reference::attend(in.query, in.keys, in.values, in.sets, {},
                                        {.threshold = whole.top_threshold});
    EXPECT_LT(max_error(found.row.out, twin.out), 5e-5);  // fp32, as in rows_test.cpp
    EXPECT_LT(max_error(found.row.lse, twin.lse), 5e-5);
    EXPECT_LT(max_error(found.row.entropy, twin.entropy), 5e-5);
    EXPECT_LT(max_error(found.row.set_lse, twin.set_lse), 5e-5);
    EXPECT_LE(found.row.entropy.max().item<double>(), std::log(static_cast<double>(keys)) + 1e-5);
  }
}

TEST_P(ReadRowsByKernel, KeepTiesAndRowsThatSeeNoMore) {
  const KeySets sets = read_sets(0, {4, 4, 4, 4}, {20}, {0});
  const auto query = torch::ones({1, 1, 20, 8}), keys = torch::ones({1, 1, 36, 8});
  const auto all = attend(query, keys, keys, sets);
  for (const int64_t kept : {1, 100}) {  // all scores are equal; rows see 36 keys at most
    const auto row = read_rows(TopK(kept), query, keys, keys, sets, {0, 20}).row;
    EXPECT_TRUE(torch::equal(row.lse, all.lse));
    EXPECT_TRUE(torch::equal(row.out, all.out));
  }
}

TEST(Select, NamesItsOptions) {
  EXPECT_EQ(Select().name(), "select(K=2, r=5)");
  EXPECT_EQ(Select({.pieces = 3, .heads = true, .rows = true}).name(),
            "select(K=3, r=5, over heads+rows)");
}

}  // namespace
}  // namespace motet
