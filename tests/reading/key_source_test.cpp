#include "motet/reading/key_source.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "motet/attention/merge.h"
#include "motet/context/layout.h"
#include "motet/context/window.h"
#include "motet/reading/read_rows.h"
#include "motet/reading/registry.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr int64_t kPrefix = 3, kRows = 5;
const std::vector<int64_t> kPieces{6, 30, 9};

/// Keys that two places hold: the first so many of all, and the others. Neither is asked for more
/// than a source has to give.
class TwoPlaces : public KeySource {
 public:
  TwoPlaces(const Tensor& keys, const Tensor& values, int64_t at)
      : at_(at),
        near_(keys.slice(2, 0, at), values.slice(2, 0, at)),
        far_(keys.slice(2, at), values.slice(2, at)) {}

  Scores score(const Tensor& query, const KeySets& sets, int64_t top,
               const RowOptions& options) const override {
    return join({near_.score(query, part(sets, 0), top, options),
                 far_.score(query, part(sets, 1), top, options)});
  }
  Row attend(const Tensor& query, const KeySets& sets, const std::optional<Tensor>& log_weight,
             const RowOptions& options) const override {
    return join({near_.attend(query, part(sets, 0), log_weight, options),
                 far_.attend(query, part(sets, 1), log_weight, options)});
  }
  std::vector<KeyMoments> moments(const KeySets& sets) const override {
    auto all = near_.moments(part(sets, 0));
    const auto others = far_.moments(part(sets, 1));
    for (std::size_t set = 0; set < all.size(); ++set) all[set] += others[set];
    return all;
  }

 private:
  /// The keys of `sets` that a place holds. None of the spans that are cut is causal.
  KeySets part(const KeySets& sets, int place) const {
    const auto from = place == 0 ? 0 : at_, to = place == 0 ? at_ : sets.keys();
    std::vector<Span> spans;
    for (auto span : sets.spans()) {
      const auto first = std::max(span.first_key, from),
                 last = std::min(span.first_key + span.keys, to);
      if (first >= last) continue;
      EXPECT_TRUE(!span.causal || last - first == span.keys);
      span.first_key = first - from;
      span.keys = last - first;
      spans.push_back(span);
    }
    KeySets mine(sets.sets(), sets.rows(), to - from, spans);
    for (int64_t set = 0; set < sets.sets(); ++set) {
      mine = mine.with_factor(set, sets.factor(set));
    }
    return mine;
  }

  int64_t at_;
  LocalKeys near_, far_;
};

class ReadFromElsewhere : public testing::TestWithParam<const char*> {
 protected:
  ReadFromElsewhere() {
    torch::manual_seed(8);
    query_ = torch::randn({1, 4, kRows, 8}, torch::kFloat64) * 2;
    keys_ = torch::randn({1, 2, sets_.keys(), 8}, torch::kFloat64);
    values_ = torch::randn({1, 2, sets_.keys(), 8}, torch::kFloat64);
  }
  KeySets sets_ = read_sets(kPrefix, kPieces, {kRows}, {2});
  Tensor query_, keys_, values_;
};

INSTANTIATE_TEST_SUITE_P(Readings, ReadFromElsewhere,
                         testing::Values("all", "select:1", "select:1:heads+rows", "soft:0.5",
                                         "sharpen", "discount", "temper", "adaptive:0.7",
                                         "adaptive:0.7:full:mixture"),
                         [](const auto& info) { return "Reading" + std::to_string(info.index); });

/// A read does not depend on where keys lie, wherever they are parted: in the prefix, at the edge
/// of a piece, inside one.
TEST_P(ReadFromElsewhere, IsAsIfKeysWereHere) {
  const auto reading = reading_named(GetParam());
  const auto here = read_rows(*reading, query_, keys_, values_, sets_, {0, kRows});
  for (const int64_t at : {2, 9, 25}) {
    const TwoPlaces elsewhere(keys_, values_, at);
    const auto there = read_rows(*reading, {query_, sets_, {0, kRows}, 0}, elsewhere);
    constexpr double kRounding = 1e-12;  // float64: only the order of sums differs
    EXPECT_LT(max_error(there.row.out, here.row.out), kRounding) << at;
    EXPECT_LT(max_error(there.row.lse, here.row.lse), kRounding) << at;
    EXPECT_LT(max_error(there.row.entropy, here.row.entropy), kRounding) << at;
    EXPECT_LT(max_error(there.row.set_lse, here.row.set_lse), kRounding) << at;
    EXPECT_LT(max_error(there.row.set_entropy, here.row.set_entropy), kRounding) << at;
    EXPECT_EQ(there.log_weight.has_value(), here.log_weight.has_value()) << at;
  }
}

TEST(KeySource, MomentsAreAskedForByName) {
  class NoMoments : public LocalKeys {
   public:
    using LocalKeys::LocalKeys;
    std::vector<KeyMoments> moments(const KeySets& sets) const override {
      return KeySource::moments(sets);
    }
  };
  const auto sets = read_sets(0, {200, 200}, {1}, {0});
  const auto keys = torch::randn({1, 1, sets.keys(), 8});
  const NoMoments source(keys, keys);
  EXPECT_EQ(message([&] {
              read_rows(*reading_named("adaptive"), {torch::randn({1, 1, 1, 8}), sets, {0, 1}, 0},
                        source);
            }),
            "motet::KeySource: these keys give no moments, from which a reading would estimate; "
            "override KeySource::moments");
}

}  // namespace
}  // namespace motet
