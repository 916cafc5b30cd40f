#include "motet/eval/join.h"

#include <gtest/gtest.h>

#include <cmath>

#include "temporary.h"

namespace motet {
namespace {

/// A task of a user's own: its row, with a figure of every kind.
struct OwnRow {
  struct Place {
    int64_t first = 0;
    std::optional<double> height;

    template <class Visit>
    static void fields(Visit&& visit) {
      visit(figure::same("first", &Place::first));
      visit(figure::mean("height", &Place::height));
    }
  };
  std::optional<int64_t> item;
  std::string mode;
  int64_t tokens = 0;
  double nll = 0;
  std::optional<double> nll_stderr;
  std::optional<double> delta, delta_stderr;
  double perplexity = 0;
  double seconds = 0;
  std::optional<int64_t> peak;
  std::vector<std::vector<double>> heads;
  std::vector<Place> places;

  template <class Visit>
  static void fields(Visit&& visit) {
    visit(figure::item("item", &OwnRow::item));
    visit(figure::key("mode", &OwnRow::mode));
    visit(figure::sum("tokens", &OwnRow::tokens));
    visit(figure::mean("nll", &OwnRow::nll, "nll_stderr", &OwnRow::nll_stderr));
    visit(figure::mean("delta", &OwnRow::delta, "delta_stderr", &OwnRow::delta_stderr));
    visit(figure::derived("perplexity", &OwnRow::perplexity));
    visit(figure::sum("seconds", &OwnRow::seconds));
    visit(figure::largest("peak", &OwnRow::peak));
    visit(figure::mean("heads", &OwnRow::heads));
    visit(figure::mean("places", &OwnRow::places));
  }
  void derive() { perplexity = std::exp(nll); }
};

OwnRow row(const std::string& mode, int64_t item, const std::vector<double>& losses) {
  OwnRow row{.item = item, .mode = mode, .tokens = static_cast<int64_t>(losses.size())};
  const auto mean = mean_of(torch::tensor(losses, torch::kFloat64));
  row.nll = mean.value;
  row.nll_stderr = mean.standard_error;
  row.delta = mean.value + 1;
  row.delta_stderr = mean.standard_error;
  row.seconds = 2;
  row.peak = 10 - item;
  row.heads = {{1.0 * static_cast<double>(item), 2}, {3, 4}};
  row.places = {{7, static_cast<double>(item)}};
  return row;
}

TEST(Join, EqualsTheFiguresOfAllTokens) {
  const std::vector<double> first{1, 2, 4, 1.5, 0.25}, second{3, 3.5};
  auto all = first;
  all.insert(all.end(), second.begin(), second.end());
  const auto rows =
      join_items<OwnRow>({row("a", 0, first), row("b", 0, second), row("a", 1, second)});
  ASSERT_EQ(rows.size(), 2u);
  const auto& joined = rows[0];
  const auto expected = mean_of(torch::tensor(all, torch::kFloat64));
  EXPECT_EQ(joined.mode, "a");
  EXPECT_FALSE(joined.item);
  EXPECT_EQ(joined.tokens, 7);
  EXPECT_NEAR(joined.nll, expected.value, 1e-14);  // sums in another order
  EXPECT_NEAR(*joined.nll_stderr, *expected.standard_error, 1e-14);
  EXPECT_NEAR(*joined.delta, expected.value + 1, 1e-14);
  EXPECT_NEAR(*joined.delta_stderr, *expected.standard_error, 1e-14);
  EXPECT_NEAR(joined.perplexity, std::exp(expected.value), 1e-13);
  EXPECT_EQ(joined.seconds, 4);
  EXPECT_EQ(joined.peak, 10);
  EXPECT_NEAR(joined.heads[0][0], 2.0 / 7, 1e-15);  // 0 for five tokens, 1 for two
  EXPECT_NEAR(joined.heads[1][1], 4, 1e-15);
  EXPECT_EQ(joined.places[0].first, 7);
  EXPECT_NEAR(*joined.places[0].height, 2.0 / 7, 1e-15);
  EXPECT_EQ(rows[1].mode, "b");
  EXPECT_EQ(rows[1].tokens, 2);
}

TEST(Join, WhatAnItemLacksSeveralLack) {
  auto with = row("a", 0, {1, 2}), without = row("a", 1, {3, 4});
  without.peak = {};
  without.delta = {};
  without.places[0].height = {};
  const auto joined = join_items<OwnRow>({with, without})[0];
  EXPECT_FALSE(joined.peak);
  EXPECT_FALSE(joined.delta);
  EXPECT_FALSE(joined.delta_stderr);
  EXPECT_FALSE(joined.places[0].height);
}

TEST(Join, RefusesFiguresOfOtherShapes) {
  auto other = row("a", 1, {3});
  other.heads = {{1, 2}};
  EXPECT_EQ(message([&] {
              join_items<OwnRow>({row("a", 0, {1}), other});
            }),
            "motet: figures of 1 and of 2 elements cannot be joined");
}

TEST(Fields, AreListedOnceForFiles) {
  std::vector<std::string> names;
  for_each_figure<OwnRow>([&](const auto& one) { names.emplace_back(one.name); });
  EXPECT_EQ(names, (std::vector<std::string>{"item", "mode", "tokens", "nll", "nll_stderr", "delta",
                                             "delta_stderr", "perplexity", "seconds", "peak",
                                             "heads", "places"}));
}

}  // namespace
}  // namespace motet
