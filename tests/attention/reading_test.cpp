#include "motet/attention/reading.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "attention/shapes.h"
#include "kernels.h"
#include "motet/attention/kernel.h"
#include "motet/attention/rows.h"
#include "motet/context/layout.h"
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
  Scores scores;
};

/// A prefix, pieces of 5, 1 and 9 keys, and rows that belong to two queries (0..3 and 4..5).
Case make_case() {
  torch::manual_seed(5);
  Case made;
  made.query = torch::randn({1, kHeads, kRows, 8}, torch::kFloat64) * 2;
  made.keys = torch::randn({1, 2, 26, 8}, torch::kFloat64);
  made.scores = score(made.query, made.keys, made.sets, 5);
  made.scores.queries = {0, 4, kRows};
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

using ReadRowsByKernel = ByKernel;

INSTANTIATE_TEST_SUITE_P(Kernels, ReadRowsByKernel, testing::ValuesIn(kernels()), name_of_kernel);

/// A prefix of 5 keys, pieces of unequal lengths, and 45 rows of which 40 keys are earlier.
struct Long {
  std::vector<int64_t> pieces{70, 3, 150, 400, 33, 90, 1, 60};
  KeySets sets = read_sets(5, pieces, {45}, {40});
  Tensor query, keys, values;

  Long() {
    torch::manual_seed(3);
    query = torch::randn({1, 6, 45, 16}) * 2;
    keys = torch::randn({1, 2, sets.keys(), 16}) * 2;
    values = torch::randn({1, 2, sets.keys(), 16});
  }
};

TEST_P(ReadRowsByKernel, ScoreDecideAndAttend) {
  const Long in;
  for (const int64_t kept : {1, 2, 3, 8}) {
    SCOPED_TRACE(kept);
    const Select select({.pieces = kept});
    const auto found = read_rows(select, in.query, in.keys, in.values, in.sets, {0, 45});
    auto scores = score(in.query, in.keys, in.sets, 5);
    scores.queries = {0, 45};
    const auto log_weight = select.decide(scores);
    EXPECT_TRUE(torch::equal(*found.log_weight, *log_weight));
    const auto twin =
        reference::attend(in.query, in.keys, in.values, in.sets, log_weight->to(torch::kFloat64));
    EXPECT_LT(max_error(found.row.out, twin.out), 5e-5);  // fp32, as in rows_test.cpp
    EXPECT_LT(max_error(found.row.lse, twin.lse), 5e-5);
    EXPECT_LT(max_error(found.row.entropy, twin.entropy), 5e-5);
    EXPECT_LT(max_error(found.row.set_lse, twin.set_lse), 5e-5);
    EXPECT_LT(max_error(found.row.set_entropy, twin.set_entropy), 5e-5);
  }
  const auto all = read_rows(All(), in.query, in.keys, in.values, in.sets, {0, 45});
  EXPECT_FALSE(all.log_weight.has_value());
  EXPECT_TRUE(torch::equal(all.row.out, attend(in.query, in.keys, in.values, in.sets).out));
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

TEST(Select, NamesItsOptions) {
  EXPECT_EQ(Select().name(), "select(K=2, r=5)");
  EXPECT_EQ(Select({.pieces = 3, .heads = true, .rows = true}).name(),
            "select(K=3, r=5, over heads and rows)");
}

}  // namespace
}  // namespace motet
