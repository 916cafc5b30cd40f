#include "motet/context/layout.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <set>

#include "motet/context/piece_sets.h"
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

/// Which keys each row sees, and of which set, from the spans: -1 for none.
std::vector<std::vector<int64_t>> visible(const KeySets& sets) {
  std::vector<std::vector<int64_t>> rows(sets.rows(), std::vector<int64_t>(sets.keys(), -1));
  for (const auto& span : sets.spans()) {
    for (int64_t i = 0; i < span.rows; ++i) {
      const auto seen = span.seen_by(i);
      for (auto key = seen.first; key < seen.last; ++key) {
        rows[span.first_row + i][span.first_key + key] = span.set;
      }
    }
  }
  return rows;
}

TEST(BehindWindow, RowsSeeKeysLessThanSoManyPositionsBehindTheirOwn) {
  for (const auto scheme :
       {Positions::kSpread, Positions::kLeft, Positions::kRight, Positions::kSequential}) {
    const auto layout = make_layout(3, {9, 4, 7}, scheme);
    auto keys = layout.positions;
    std::vector<int64_t> rows;
    // Two queries, of 4 rows behind 2 earlier keys, and of 3 rows.
    for (const auto& [earlier, count] : {std::pair<int64_t, int64_t>{2, 4}, {0, 3}}) {
      for (int64_t t = 0; t < earlier + count; ++t) {
        keys.push_back(layout.query_position + t);
        if (t >= earlier) rows.push_back(layout.query_position + t);
      }
    }
    const auto read = read_sets(3, layout.pieces, {4, 3}, {2, 0}).with_factor(2, 0.5);
    const auto check = [&](const KeySets& sets, const std::vector<int64_t>& key_positions,
                           const std::vector<int64_t>& row_positions) {
      for (const int64_t window : {1, 2, 5, 100}) {
        SCOPED_TRACE(testing::Message() << name_of(scheme) << ", window " << window);
        const auto behind = behind_window(sets, key_positions, row_positions, window);
        auto expected = visible(sets);
        int64_t pairs = 0;
        for (int64_t row = 0; row < sets.rows(); ++row) {
          for (int64_t key = 0; key < sets.keys(); ++key) {
            auto& set = expected[row][key];
            if (row_positions[row] - key_positions[key] >= window) set = -1;
            pairs += set >= 0 ? 1 : 0;
          }
        }
        EXPECT_EQ(visible(behind), expected);
        EXPECT_EQ(behind.pairs(), pairs);
        EXPECT_EQ(behind.factor(0), 1);
        EXPECT_EQ(behind.factor(2 % behind.sets()), sets.factor(2 % sets.sets()));
      }
    };
    check(read, keys, rows);
    check(encode_sets(layout), layout.positions, layout.positions);
  }
}

TEST(BehindWindow, ErrorsNameTheNumbers) {
  const auto sets = causal_keys(2, 3);
  EXPECT_EQ(message([&] {
              behind_window(sets, {0, 1, 2}, {1, 2}, 0);
            }),
            "motet::behind_window: window = 0; a row sees itself at least");
  EXPECT_EQ(
      message([&] {
        behind_window(sets, {0, 1}, {1, 2}, 4);
      }),
      "motet::behind_window: positions of 2 keys and 2 rows, but the sets describe 3 keys and "
      "2 rows");
  EXPECT_EQ(message([&] {
              behind_window(sets, {1, 0, 2}, {1, 2}, 4);
            }),
            "motet::behind_window: positions of the keys of (set 0, rows 0+2, keys 0+3, causal) "
            "fall; a window needs them in order");
}

TEST(PieceSets, NamesEverySet) {
  const PieceSets whole(3), split = whole.with_bulks();
  EXPECT_EQ(whole, PieceSets::of_sets(5));
  EXPECT_EQ(split.count(), 8);
  const auto x = torch::arange(8).view({1, 1, 1, 8});
  EXPECT_EQ(split.prefix_in(x).item<int64_t>(), split.prefix());
  EXPECT_EQ(split.own_in(x).item<int64_t>(), split.own());
  EXPECT_TRUE(torch::equal(split.pieces_in(x).flatten(), torch::arange(1, 4)));
  EXPECT_TRUE(torch::equal(split.bulks_in(x).flatten(), torch::arange(5, 8)));
  EXPECT_EQ(split.bulk(2), 7);
  EXPECT_EQ(split.whole(), whole);
  EXPECT_FALSE(whole.is_piece(0) || whole.is_piece(4) || !whole.is_piece(1) || !whole.is_piece(3));
  EXPECT_EQ(message([&] { whole.bulks_in(x); }),
            "motet::PieceSets: pieces that are not split have no bulks");
  EXPECT_EQ(message([] { PieceSets::of_sets(1); }),
            "motet::PieceSets: 1 sets; there are a prefix and own keys at least");
}

}  // namespace
}  // namespace motet
