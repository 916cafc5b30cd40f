#include "motet/attention/merge.h"

#include <gtest/gtest.h>
#include <torch/autograd.h>
#include <torch/types.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "attention/cases.h"
#include "motet/attention/rows.h"
#include "motet/attention/scores.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

struct SplitAt {
  int64_t keys;
  std::vector<int64_t> parts;
  friend std::ostream& operator<<(std::ostream& out, const SplitAt& split) {
    for (const auto part : split.parts) out << part << "_";
    return out << "of_" << split.keys;
  }
};

class Merge : public testing::TestWithParam<SplitAt> {};

INSTANTIATE_TEST_SUITE_P(Splits, Merge,
                         testing::Values(SplitAt{1, {1}}, SplitAt{9, {4, 5}}, SplitAt{9, {9, 0}},
                                         SplitAt{9, {0, 9}}, SplitAt{12, {1, 1, 1, 9}},
                                         SplitAt{600, {100, 350, 150}}),
                         testing::PrintToStringParamName());

TEST_P(Merge, EqualsTheUnsplitRowInAnyOrder) {
  torch::manual_seed(7);
  const auto& [keys, sizes] = GetParam();
  const auto q = torch::randn({2, 3, 4, 8}, torch::kFloat64);
  const auto k = torch::randn({2, 3, keys, 8}, torch::kFloat64), v = torch::randn_like(k);
  std::vector<Row> parts;
  int64_t first = 0;
  for (const auto size : sizes) {
    parts.push_back(attend(q, k.slice(2, first, first + size), v.slice(2, first, first + size),
                           all_keys(4, size)));
    first += size;
  }
  const auto whole = attend(q, k, v, all_keys(4, keys));
  const auto expect_whole = [&](const Row& row) {
    EXPECT_LT(max_error(row.out, whole.out), 1e-12);
    EXPECT_LT(max_error(row.lse, whole.lse), 1e-12);
    EXPECT_LT(max_error(row.entropy, whole.entropy), 1e-12);
    EXPECT_LT(max_error(row.between() + row.within(), whole.entropy), 1e-12);
  };
  expect_whole(merge(parts));
  expect_whole(merge({parts.rbegin(), parts.rend()}));
  auto row = parts[0];  // one after the other: associative
  for (std::size_t i = 1; i < parts.size(); ++i) row = merge({row, parts[i]});
  expect_whole(row);
}

TEST(Merge, ShiftsAndDropsParts) {
  torch::manual_seed(7);
  const auto q = torch::randn({1, 2, 3, 8}, torch::kFloat64);
  const auto k = torch::randn({1, 2, 10, 8}, torch::kFloat64), v = torch::randn_like(k);
  const KeySets sets(
      2, 3, 10,
      {{.set = 0, .rows = 3, .keys = 6}, {.set = 1, .rows = 3, .first_key = 6, .keys = 4}});
  const auto a = attend(q, k.slice(2, 0, 6), v.slice(2, 0, 6), all_keys(3, 6));
  auto b = attend(q, k.slice(2, 6), v.slice(2, 6), all_keys(3, 4));
  for (const auto shift : {0.7, -kInfinity}) {
    auto log_weight = torch::zeros({1, 2, 3, 2}, torch::kFloat64);
    log_weight.select(3, 1).fill_(shift);
    const auto zero = torch::zeros({}, torch::kFloat64);
    expect_near(merge({a, b}, {zero, torch::full({}, shift, torch::kFloat64)}),
                attend(q, k, v, sets, log_weight), 1e-12);
    for (auto of : {b.out, b.lse, b.entropy, b.set_lse, b.set_entropy}) {
      of.fill_(std::nan(""));  // the second shift drops it: no NaN may pass
    }
    if (shift != -kInfinity) continue;
  }
}

TEST(Merge, OfEmptySetsIsTheEmptySet) {
  const auto q = torch::randn({1, 1, 2, 4});
  const auto none = torch::zeros({1, 1, 0, 4});
  const auto empty = attend(q, none, none, all_keys(2, 0));
  const auto row = merge({empty, empty});
  EXPECT_TRUE((row.lse == -kInfinity).all().item<bool>());
  EXPECT_TRUE((row.out == 0).all().item<bool>());
  EXPECT_TRUE((row.entropy == 0).all().item<bool>());
  EXPECT_TRUE((row.mass() == 0).all().item<bool>());
}

/// Four hosts of a reading: piece 1 on two of them, a host with keys of no piece, rows that see
/// nothing on some; and all of it at one.
struct Hosts {
  Inputs in;
  KeySets whole{5, 6, 26, reading_spans()};
  std::vector<KeySets> sets;
  std::vector<std::pair<int64_t, int64_t>> keys;  // of each host

  explicit Hosts(torch::ScalarType dtype) {
    in = inputs({"", 2, 4, 2, 8, whole, {26}, 1}, dtype, true);
    const auto host = [&](int64_t first, int64_t last, std::vector<Span> spans) {
      for (auto& span : spans) {
        span.first_key -= first;
      }
      keys.emplace_back(first, last);
      sets.emplace_back(5, 6, last - first, std::move(spans));
    };
    const auto all = reading_spans();
    host(0, 5, {all[0], {.set = 1, .rows = 6, .first_key = 3, .keys = 2}});
    host(5, 9, {{.set = 1, .rows = 6, .first_key = 5, .keys = 3}, all[2]});
    host(9, 18, {all[3]});
    host(18, 26, {all[4]});
  }

  Tensor of(const Tensor& x, std::size_t host) const {
    return x.slice(2, keys[host].first, keys[host].second);
  }
  std::vector<Row> rows(const RowOptions& options = {}) const {
    std::vector<Row> rows;
    for (std::size_t i = 0; i < sets.size(); ++i) {
      rows.push_back(attend(in.query, of(in.keys, i), of(in.values, i), sets[i], {}, options));
    }
    return rows;
  }
  std::vector<Scores> scores(int64_t top) const {
    std::vector<Scores> scores;
    for (std::size_t i = 0; i < sets.size(); ++i) {
      scores.push_back(score(in.query, of(in.keys, i), sets[i], top));
    }
    return scores;
  }
};

TEST(Join, OfRowsIsTheRowOverAllKeys) {
  const Hosts hosts(torch::kFloat64);
  const auto whole =
      attend(hosts.in.query, hosts.in.keys, hosts.in.values, hosts.whole, {}, {.top = 4});
  auto parts = hosts.rows({.top = 4});
  const auto expect_whole = [&](const Row& row) {
    expect_near(row, whole, 1e-12);
    EXPECT_LT(max_error(row.set_top, whole.set_top), 1e-12);
    EXPECT_FALSE(row.set_top.requires_grad());
  };
  expect_whole(join(parts));
  expect_whole(join(std::vector<Row>(parts.rbegin(), parts.rend())));
  expect_whole(join(std::vector<Row>{parts[2], join(std::vector<Row>{parts[3], parts[0]}),
                                     parts[1]}));  // associative
  const auto wanted = std::vector<Tensor>{hosts.in.query, hosts.in.keys, hosts.in.values};
  const auto found = torch::autograd::grad({loss(join(parts))}, wanted);
  const auto expected = torch::autograd::grad({loss(whole)}, wanted);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_LT(max_error(found[i], expected[i]), 1e-10) << "input " << i;
  }
}

TEST(Join, OfScoresIsTheScoreOverAllKeys) {
  const Hosts hosts(torch::kFloat64);
  const auto whole = score(hosts.in.query, hosts.in.keys, hosts.whole, 4);
  const auto parts = hosts.scores(4);
  using Parts = std::vector<Scores>;
  for (const auto& joined : {join(parts), join(Parts(parts.rbegin(), parts.rend())),
                             join(Parts{join(Parts{parts[0], parts[1]}), parts[2], parts[3]})}) {
    EXPECT_LT(max_error(joined.lse, whole.lse), 1e-12);
    EXPECT_LT(max_error(joined.entropy, whole.entropy), 1e-12);
    EXPECT_LT(max_error(joined.row_lse, whole.row_lse), 1e-12);
    EXPECT_LT(max_error(joined.top, whole.top), 1e-12);
  }
  const auto scalar = [](const Scores& x) {
    return (x.lse.masked_fill(x.lse == -kInfinity, 0).sin() + x.entropy.cos()).sum() +
           x.row_lse.sin().sum();
  };
  const std::vector<Tensor> wanted{hosts.in.query, hosts.in.keys};
  const auto found = torch::autograd::grad({scalar(join(parts))}, wanted);
  const auto expected = torch::autograd::grad({scalar(whole)}, wanted);
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    EXPECT_LT(max_error(found[i], expected[i]), 1e-10) << "input " << i;
  }
}

TEST(Join, IsInSingleAsExactAsARow) {
  const Hosts hosts(torch::kFloat32);
  expect_near(join(hosts.rows()),
              reference::attend(hosts.in.query, hosts.in.keys, hosts.in.values, hosts.whole),
              5e-5);  // as in rows_test.cpp
}

TEST(Join, OfPartsWithoutEntropyOrTopHasNone) {
  const auto row = join(Hosts(torch::kFloat64).rows({.entropy = false}));
  EXPECT_FALSE(row.entropy.defined());
  EXPECT_FALSE(row.set_entropy.defined());
  EXPECT_FALSE(row.set_top.defined());
}

/// Rows that see nothing, on no host or on some: no gradient there is NaN.
TEST(Join, OfEmptyPartsIsEmptyAndHasGradients) {
  const auto q = torch::randn({1, 1, 2, 4}, torch::kFloat64).requires_grad_();
  const auto k = torch::randn({1, 1, 3, 4}, torch::kFloat64).requires_grad_();
  const KeySets some(2, 2, 3, {{.set = 1, .first_row = 1, .rows = 1, .keys = 3}}),
      none(2, 2, 3, {});
  for (const auto& sets : {some, none}) {
    const std::vector<Row> parts{attend(q, k, k, sets), attend(q, k, k, none)};
    for (const auto& row : {join(parts), merge(parts)}) {
      EXPECT_TRUE((row.lse.select(2, 0) == -kInfinity).all().item<bool>());
      EXPECT_TRUE((row.out.select(2, 0) == 0).all().item<bool>());
      for (const auto& gradient : torch::autograd::grad({loss(row)}, {q, k}, {}, true)) {
        EXPECT_TRUE(gradient.isfinite().all().item<bool>());
      }
    }
  }
}

TEST(Merge, ErrorsSayWhatDoesNotFit) {
  const auto q = torch::zeros({1, 4, 3, 8}), k = torch::zeros({1, 2, 5, 8});
  const auto sets = all_keys(3, 5);
  EXPECT_EQ(message([&] { merge({}); }), "motet::merge: no rows to merge");
  const auto with_mass = attend(q, k, k, sets, {}, {.budget = {.keys = 2}});
  EXPECT_EQ(message([&] {
              merge({with_mass, with_mass});
            }),
            "motet::merge: part 0 has a top_mass, and the largest keys of the whole are not known "
            "from it; make the parts without a budget, or the row at once");
}

TEST(Join, ErrorsSayWhatDoesNotFit) {
  const auto q = torch::zeros({1, 4, 3, 8}), k = torch::zeros({1, 2, 5, 8});
  const auto sets = all_keys(3, 5);
  const auto row = attend(q, k, k, sets), with_top = attend(q, k, k, sets, {}, {.top = 2}),
             fewer = attend(q.slice(2, 1), k, k, all_keys(2, 5)),
             more_sets = attend(q, k, k, {2, 3, 5, {{.rows = 3, .keys = 5}}}),
             with_mass = attend(q, k, k, sets, {}, {.budget = {.keys = 2}});
  EXPECT_EQ(message([] { join(std::vector<Row>{}); }), "motet::join: no rows to join");
  EXPECT_EQ(message([&] {
              join(std::vector<Row>{row, with_mass});
            }),
            "motet::join: part 1 has a top_mass, and the largest keys of the whole are not known "
            "from it; make the parts without a budget, or the row at once");
  EXPECT_EQ(message([&] {
              join(std::vector<Row>{row, fewer});
            }),
            "motet::join: the out of part 0 is [1, 4, 3, 8], that of part 1 [1, 4, 2, 8]");
  EXPECT_EQ(message([&] {
              join(std::vector<Row>{row, more_sets});
            }),
            "motet::join: the set_lse of part 0 is [1, 4, 3, 1], that of part 1 [1, 4, 3, 2]");
  EXPECT_EQ(message([&] {
              join(std::vector<Row>{row, with_top});
            }),
            "motet::join: part 1 has the set_top that part 0 lacks");
  EXPECT_EQ(message([&] {
              join(std::vector<Row>{with_top, row});
            }),
            "motet::join: part 1 lacks the set_top that part 0 has");
  auto scores = score(q, k, sets, 2);
  EXPECT_EQ(message([] { join(std::vector<Scores>{}); }), "motet::join: no scores to join");
  EXPECT_EQ(message([&] {
              join(std::vector<Scores>{scores, score(q, k, sets, 3)});
            }),
            "motet::join: the top of part 0 is [1, 4, 3, 1, 2], that of part 1 [1, 4, 3, 1, 3]");
  const auto parted = score(q, k, sets, 0, {.budget = {.keys = 2}});
  EXPECT_EQ(message([&] {
              join(std::vector<Scores>{parted, parted});
            }),
            "motet::join: part 0 has a top_threshold, and the largest keys of the whole are not "
            "known from it; make the parts without a budget, or the row at once");
}

}  // namespace
}  // namespace motet
