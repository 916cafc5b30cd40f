#include "motet/probe/entropy.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "motet/probe/mass.h"
#include "motet/probe/statistic.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;

/// Rows over a prefix, two pieces and own keys, as one layer shows them.
Observation observation(int64_t layer, int64_t rows, RowKind kind = RowKind::kQuery) {
  torch::manual_seed(10 * layer + rows);
  const auto set_lse = torch::randn({1, 2, rows, 4});
  const auto set_entropy = torch::rand({1, 2, rows, 4});
  Row row{{}, set_lse.logsumexp(3), {}, set_lse, set_entropy};
  row.entropy = row.between() + row.within();
  return {.layer = layer,
          .layers = 2,
          .kind = kind,
          .queries = {0, rows},
          .sets = PieceSets(2),
          .row = row};
}

TEST(EntropyProbe, MeansCountTokensOrCalls) {
  EntropyProbe probe;
  torch::Tensor all[2];
  double calls = 0;
  for (const int64_t rows : {3, 1, 1}) {
    for (int64_t layer = 0; layer < 2; ++layer) {
      const auto seen = observation(layer, rows);
      probe.observe(seen);
      probe.observe(observation(layer, 7, RowKind::kContext));  // not what it watches
      calls += seen.row.entropy.mean().item<double>() / 6;
      all[layer] =
          all[layer].defined() ? torch::cat({all[layer], seen.row.entropy}, 2) : seen.row.entropy;
    }
  }
  const auto rows = torch::stack({all[0], all[1]});
  EXPECT_EQ(probe.entropy().rows().sizes(), (torch::IntArrayRef{2, 1, 2, 5}));
  EXPECT_EQ(max_error(probe.entropy().rows(), rows), 0);
  EXPECT_NEAR(probe.entropy().mean().item<double>(), rows.mean().item<double>(), 1e-6);
  EXPECT_LT(max_error(probe.entropy().heads(), rows.mean({1, 3})), 1e-6);
  EXPECT_NEAR(probe.mean_of_calls(), calls, 1e-6);
  EXPECT_GT(std::abs(probe.mean_of_calls() - probe.entropy().mean().item<double>()), 1e-3);
  EXPECT_LT(max_error(probe.between().rows() + probe.within().rows(), rows), 1e-6);
}

TEST(MassProbe, SharesAddUpToOne) {
  MassProbe probe;
  probe.observe(observation(0, 4));
  probe.observe(observation(1, 4));
  const auto mass = probe.mass().rows();
  EXPECT_LT(max_error(mass.sum(-1), torch::ones({2, 1, 2, 4})), 1e-6);
  EXPECT_EQ(max_error(probe.prefix().rows(), mass.select(-1, 0)), 0);
  EXPECT_EQ(max_error(probe.own().rows(), mass.select(-1, 3)), 0);
  EXPECT_EQ(max_error(probe.top_piece().rows(), mass.slice(-1, 1, 3).amax(-1)), 0);
  EXPECT_TRUE(probe.null().empty());
}

TEST(MassProbe, KnowsWhichSetIsTheNullSet) {
  auto with_null = observation(0, 2);
  with_null.sets = PieceSets(1).with_null();
  MassProbe probe;
  probe.observe(with_null);
  const auto mass = with_null.row.mass().unsqueeze(0);
  EXPECT_EQ(max_error(probe.mass().rows(), mass.slice(-1, 0, 3)), 0);
  EXPECT_EQ(max_error(probe.own().rows(), mass.select(-1, 2)), 0);
  EXPECT_EQ(max_error(probe.null().rows(), mass.select(-1, 3)), 0);
  EXPECT_EQ(max_error(probe.prefix().rows(), mass.select(-1, 0)), 0);
  EXPECT_EQ(max_error(probe.top_piece().rows(), mass.select(-1, 1)), 0);
  EXPECT_EQ(message([&] { probe.observe(observation(0, 2)); }),
            "motet::MassProbe: rows without a null set after rows with one; each wants a probe of "
            "its own");
  MassProbe other;
  other.observe(observation(0, 2));
  EXPECT_EQ(message([&] { other.observe(with_null); }),
            "motet::MassProbe: rows with a null set after rows without one; each wants a probe of "
            "its own");
}

/// As where a window hides all pieces from the rows of a layer.
TEST(RowStatistic, SaysThatALayerSawNothing) {
  RowStatistic statistic;
  statistic.add(1, torch::ones({1, 2, 3}));
  const auto* uneven =
      "motet::RowStatistic: layers have different numbers of rows; their mean is all that there is";
  EXPECT_EQ(message([&] { statistic.last(); }), uneven);
  EXPECT_EQ(message([&] { statistic.rows(); }), uneven);
  statistic.add(0, torch::zeros({1, 2, 1}));
  EXPECT_EQ(max_error(statistic.last(), torch::stack({torch::zeros({1, 2}), torch::ones({1, 2})})),
            0);
}

TEST(Observation, PartsAreMadeOnce) {
  const auto seen = observation(0, 3);
  const auto mass = seen.parts().mass;
  EXPECT_EQ(max_error(mass, seen.row.mass()), 0);
  EXPECT_TRUE(mass.is_same(seen.parts().mass));
}

TEST(Probe, NeedsAreThoseOfAll) {
  EntropyProbe entropy;
  MassProbe mass;
  EXPECT_FALSE(needs_of({}).rows);
  EXPECT_TRUE(needs_of({&mass}).rows);
  EXPECT_FALSE(needs_of({&mass}).entropy);
  EXPECT_TRUE(needs_of({&mass, &entropy}).entropy);
  EXPECT_EQ(message([&] { entropy.mean_of_calls(); }), "motet::RowStatistic: nothing was observed");
  EXPECT_EQ(message([&] { entropy.entropy().rows(); }),
            "motet::RowStatistic: nothing was observed");
}

}  // namespace
}  // namespace motet
