#include "motet/context/layout.h"

#include <gtest/gtest.h>

#include <set>

#include "temporary.h"

namespace motet {
namespace {

using Numbers = std::vector<int64_t>;

TEST(Layout, PlacesTokensAsEachSchemeSays) {
  const auto placed = [](Positions positions) { return make_layout(2, {4, 2, 3}, positions); };
  EXPECT_EQ(placed(Positions::kSpread).positions, (Numbers{0, 1, 2, 3, 4, 5, 2, 4, 2, 3, 4}));
  EXPECT_EQ(placed(Positions::kLeft).positions, (Numbers{0, 1, 2, 3, 4, 5, 2, 3, 2, 3, 4}));
  EXPECT_EQ(placed(Positions::kRight).positions, (Numbers{0, 1, 2, 3, 4, 5, 4, 5, 3, 4, 5}));
  EXPECT_EQ(placed(Positions::kSequential).positions, (Numbers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_EQ(placed(Positions::kSpread).query_position, 6);
  EXPECT_EQ(placed(Positions::kLeft).query_position, 6);
  EXPECT_EQ(placed(Positions::kRight).query_position, 6);
  EXPECT_EQ(placed(Positions::kSequential).query_position, 11);
}

TEST(Layout, WithoutPiecesIsThePrefixAlone) {
  const auto layout = make_layout(3, {});
  EXPECT_EQ(layout.query_position, 3);
  EXPECT_EQ(layout.cost_ratio(), 1);
}

TEST(Layout, CostsWhatItsTrianglesCost) {
  EXPECT_DOUBLE_EQ(make_layout(7, {4, 2, 3}).cost_ratio(), (10.0 + 3 + 6) / 45);
  EXPECT_DOUBLE_EQ(make_layout(0, {9}).cost_ratio(), 1);
}

TEST(Layout, NamesItsSchemes) {
  for (const auto* name : {"spread", "left", "right", "sequential"}) {
    EXPECT_EQ(name_of(positions_named(name)), name);
  }
  EXPECT_EQ(message([] { positions_named("middle"); }),
            "positions 'middle': one of spread, left, right, sequential is wanted");
  EXPECT_EQ(message([] {
              make_layout(0, {3, 0});
            }),
            "motet::make_layout: piece 2 of 2 has 0 tokens; every piece needs one");
}

TEST(Split, TokensMakePiecesOfTheSameSizeButForTheLast) {
  EXPECT_EQ(split_tokens(10, 1), (Numbers{10}));
  EXPECT_EQ(split_tokens(10, 3), (Numbers{4, 4, 2}));
  EXPECT_EQ(split_tokens(767, 8), (Numbers{96, 96, 96, 96, 96, 96, 96, 95}));
  EXPECT_EQ(
      message([] { split_tokens(5, 4); }),
      "motet::split_tokens: 5 tokens in pieces of 2 make 3 pieces, not 4; choose fewer pieces "
      "or a longer context");
}

TEST(Split, UnitsAreDealtContiguously) {
  EXPECT_EQ(split_units({1, 2, 4, 8, 16}, 2), (Numbers{7, 24}));
  EXPECT_EQ(split_units({1, 2, 4, 8, 16}, 3), (Numbers{3, 12, 16}));
  EXPECT_EQ(message([] {
              split_units({1, 2}, 3);
            }),
            "motet::split_units: 2 units cannot make 3 pieces");
}

/// set -> keys that `row` sees, span by span.
std::vector<std::set<int64_t>> seen(const KeySets& sets, int64_t row) {
  std::vector<std::set<int64_t>> keys(sets.sets());
  for (const auto& span : sets.spans()) {
    for (int64_t key = 0; key < span.keys; ++key) {
      const auto i = row - span.first_row;
      if (i >= 0 && i < span.rows && (!span.causal || key <= span.keys - span.rows + i)) {
        keys[span.set].insert(span.first_key + key);
      }
    }
  }
  return keys;
}

using Sets = std::vector<std::set<int64_t>>;

TEST(Sets, OfAPackedRowHideOtherPieces) {
  const auto sets = encode_sets(make_layout(2, {3, 2}));
  EXPECT_EQ(seen(sets, 0), (Sets{{}, {0}}));
  EXPECT_EQ(seen(sets, 1), (Sets{{}, {0, 1}}));
  EXPECT_EQ(seen(sets, 3), (Sets{{0, 1}, {2, 3}}));
  EXPECT_EQ(seen(sets, 5), (Sets{{0, 1}, {5}}));
  EXPECT_EQ(seen(sets, 6), (Sets{{0, 1}, {5, 6}}));
}

TEST(Sets, OfQueriesShareTheContextAndNothingElse) {
  // two queries of 2 and 1 rows, the second with 2 earlier keys
  const auto sets = read_sets(1, {2, 1}, {2, 1}, {0, 2});
  EXPECT_EQ(sets.keys(), 4 + 2 + 3);
  EXPECT_EQ(seen(sets, 0), (Sets{{0}, {1, 2}, {3}, {4}}));
  EXPECT_EQ(seen(sets, 1), (Sets{{0}, {1, 2}, {3}, {4, 5}}));
  EXPECT_EQ(seen(sets, 2), (Sets{{0}, {1, 2}, {3}, {6, 7, 8}}));
}

}  // namespace
}  // namespace motet
