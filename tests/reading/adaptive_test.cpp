#include "motet/reading/adaptive.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "attention/shapes.h"
#include "kernels.h"
#include "motet/attention/key_moments.h"
#include "motet/context/layout.h"
#include "motet/reading/read_rows.h"
#include "motet/reading/reading.h"
#include "motet/reading/registry.h"
#include "reference/attention.h"
#include "temporary.h"

namespace motet {
namespace {

using reference::max_error;
using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
const auto kF64 = torch::TensorOptions().dtype(torch::kFloat64);

double log_odds(double tau) { return std::log(tau / (1 - tau)); }

// ---- moments

TEST(KeyMoments, AreThoseOfTheDefinitionInAnySplitAndOrder) {
  torch::manual_seed(3);
  const auto keys = torch::randn({2, 3, 700, 5}, kF64) + 2;
  const auto whole = moments_of(keys);
  const auto mean = keys.mean(2, true);
  const auto covariance = torch::matmul((keys - mean).transpose(2, 3), keys - mean) / 700;
  // float64 sums of 700 terms of size 10
  constexpr double kRounding = 1e-12;
  EXPECT_EQ(whole.count, 700);
  EXPECT_LT(max_error(whole.mean(), mean.squeeze(2)), kRounding);
  EXPECT_LT(max_error(whole.covariance(), covariance), kRounding);
  EXPECT_LT(max_error(whole.variance(), covariance.diagonal(0, 2, 3)), kRounding);
  const auto part = [&](int64_t first, int64_t last) {
    return moments_of(keys.slice(2, first, last));
  };
  for (const auto& same : {part(0, 1) + part(1, 600) + part(600, 700),
                           part(600, 700) + part(0, 1) + (part(1, 600) + KeyMoments()),
                           KeyMoments() + (whole - part(3, 9)) + part(3, 9)}) {
    EXPECT_EQ(same.count, 700);
    EXPECT_LT(max_error(same.covariance(), covariance), kRounding);
    EXPECT_LT(max_error(same.mean(), mean.squeeze(2)), kRounding);
  }
  const auto without = whole - part(0, 16);
  EXPECT_EQ(without.count, 684);
  EXPECT_LT(max_error(without.covariance(), part(16, 700).covariance()), kRounding);
  EXPECT_EQ((whole - whole).count, 0);
  EXPECT_EQ(moments_of(keys.to(torch::kBFloat16)).sum.scalar_type(), torch::kFloat64);
}

TEST(KeyMoments, ErrorsNameTheNumbers) {
  const auto few = moments_of(torch::ones({1, 2, 3, 4})),
             other = moments_of(torch::ones({1, 1, 4, 4}));
  EXPECT_EQ(message([&] { (void)(few - other); }),
            "motet::KeyMoments: 4 keys cannot be taken out of 3");
  EXPECT_EQ(
      message([&] { (void)(few + other); }),
      "motet::KeyMoments +: moments of keys [batch, kv_heads, features] = [1, 2, 4] and [1, 1, "
      "4]");
  EXPECT_EQ(message([] { KeyMoments().mean(); }), "motet::KeyMoments::mean: there are no keys");
}

/// The error of the estimate is the mean of what e^s has beyond its second order: of variance
/// (e^v - 1 - v - v^2 / 2) / n for scores of variance v (the delta method, with Hermite's
/// polynomials).
TEST(GaussianKeys, ErrorFallsAtTheMonteCarloRate) {
  torch::manual_seed(11);
  constexpr int64_t kFeatures = 24, kQueries = 300;
  constexpr double kVariance = 1.5;
  const auto half = torch::randn({kFeatures, kFeatures}, kF64) / std::sqrt(kFeatures);
  const auto mean = torch::randn({kFeatures}, kF64);
  const auto sigma = torch::matmul(half, half.t());
  auto query = torch::randn({1, 1, kQueries, kFeatures}, kF64);
  const auto norm = (torch::matmul(query, sigma) * query).sum(3, true);
  query = query * (kVariance / norm).sqrt();
  const auto expected = std::sqrt(std::exp(kVariance) - 1 - kVariance - kVariance * kVariance / 2);
  for (const int64_t count : {2000, 32000, 256000}) {
    const auto keys = (torch::matmul(torch::randn({count, kFeatures}, kF64), half.t()) + mean)
                          .view({1, 1, count, kFeatures});
    const GaussianKeys model(moments_of(keys), Covariance::kFull, 1, torch::kFloat64);
    const auto truth = torch::matmul(query, keys.transpose(2, 3)).logsumexp(3);
    const auto rms = (model.log_mass(query) - truth).square().mean().sqrt().item<double>();
    // The root mean square of 300 errors, some of them alike, scatters by some 10 percent.
    EXPECT_NEAR(rms * std::sqrt(static_cast<double>(count)) / expected, 1, 0.25) << count;
  }
}

TEST(GaussianKeys, DiagonalLeavesCorrelationsOut) {
  torch::manual_seed(4);
  const auto keys = torch::randn({1, 2, 50, 3}, kF64).cumsum(3);
  const auto query = torch::randn({2, 4, 5, 3}, kF64);
  const auto moments = moments_of(keys);
  const GaussianKeys diagonal(moments, Covariance::kDiagonal, 0.7, torch::kFloat64),
      full(moments, Covariance::kFull, 0.7, torch::kFloat64);
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t h = 0; h < 4; ++h) {
      for (int64_t row = 0; row < 5; ++row) {
        const auto q = query[b][h][row];
        const auto mu = moments.mean()[0][h / 2], sigma = moments.covariance()[0][h / 2];
        const auto value = [&](const Tensor& s) {
          return std::log(50.0) + (0.7 * q.dot(mu) + 0.7 * 0.7 / 2 * q.dot(s.mv(q))).item<double>();
        };
        EXPECT_NEAR(full.log_mass(query)[b][h][row].item<double>(), value(sigma), 1e-12);
        EXPECT_NEAR(diagonal.log_mass(query)[b][h][row].item<double>(),
                    value(sigma.diagonal().diag()), 1e-12);
      }
    }
  }
  const GaussianKeys none(KeyMoments(), Covariance::kFull, 1, torch::kFloat64);
  EXPECT_TRUE((none.log_mass(query) == -kInfinity).all().item<bool>());
}

// ---- decisions

constexpr Window kWindow{.first = 2, .last = 3};

/// A prefix of 3, pieces of 7, 2 and 12 keys, two queries of 4 and 2 rows with earlier keys.
struct Case {
  Tensor query, keys, values;
  KeySets sets = read_sets(3, {7, 2, 12}, {4, 2}, {1, 0});
  std::vector<int64_t> queries{0, 4, 6};
};

Case make_case(torch::ScalarType dtype = torch::kFloat64) {
  torch::manual_seed(8);
  Case made;
  made.query = torch::randn({1, 4, 6, 8}, kF64).mul(2).to(dtype);
  made.keys = torch::randn({1, 2, made.sets.keys(), 8}, kF64).to(dtype);
  made.values = torch::randn({1, 2, made.sets.keys(), 8}, kF64).to(dtype);
  return made;
}

ReadRows read_case(const Case& made, const Reading& reading, const RowOptions& options = {}) {
  return read_rows(reading, made.query, made.keys, made.values, made.sets, made.queries, options);
}

/// Keys of each piece that are outside the window.
const std::vector<std::vector<int64_t>> kBulks{{5, 6, 7, 8, 9}, {}, {14, 15, 16, 17, 18, 19, 20}};

/// ln A_W and ln of each bulk's mass, of one row, from the matrix.
std::pair<double, std::vector<double>> dense_masses(const Case& made, int64_t head, int64_t row) {
  const auto seen = reference::visible(made.sets, row);
  std::vector<std::vector<double>> bulks(kBulks.size());
  std::vector<double> window;
  for (const auto key : seen.keys) {
    const auto s =
        made.query[0][head][row].dot(made.keys[0][head / 2][key]).item<double>() / std::sqrt(8.0);
    auto* where = &window;
    for (std::size_t piece = 0; piece < kBulks.size(); ++piece) {
      if (std::count(kBulks[piece].begin(), kBulks[piece].end(), key) > 0) where = &bulks[piece];
    }
    where->push_back(s);
  }
  const auto lse = [](const std::vector<double>& s) {
    double sum = 0;
    for (const auto x : s) sum += std::exp(x);
    return std::log(sum);
  };
  std::vector<double> masses;
  for (const auto& bulk : bulks) masses.push_back(lse(bulk));
  return {lse(window), masses};
}

double joined(const std::vector<double>& lse) {
  double sum = 0;
  for (const auto x : lse) sum += std::exp(x);
  return std::log(sum);
}

TEST(Window, SplitsPieces) {
  const auto split = split_window(make_case().sets, kWindow);
  std::vector<std::vector<int64_t>> bulks(3);
  const auto seen = reference::visible(split.bulk, 0);
  for (std::size_t i = 0; i < seen.keys.size(); ++i)
    bulks.at(seen.sets[i] - 5).push_back(seen.keys[i]);
  EXPECT_EQ(bulks, kBulks);
  EXPECT_EQ(split.all.pairs(), make_case().sets.pairs());
  EXPECT_EQ(split.window.pairs() + split.bulk.pairs(), split.all.pairs());
  EXPECT_EQ(split.all.sets(), 8);
  EXPECT_EQ(message([] { Window{.first = -1}.validate(); }),
            "motet::Window: first = -1; a number of keys is wanted");
}

TEST(Window, SplitsPiecesWithTheirFactors) {
  const auto sets = make_case().sets.with_factor(1, 0.5).with_factor(3, 2).with_factor(4, 1.5);
  const auto split = split_window(sets, kWindow);
  for (const auto* some : {&split.all, &split.window, &split.bulk}) {
    std::vector<double> factors;
    for (int64_t set = 0; set < some->sets(); ++set) factors.push_back(some->factor(set));
    EXPECT_EQ(factors, (std::vector<double>{1, 0.5, 1, 2, 1.5, 0.5, 1, 2}));
  }
}

TEST(Adaptive, OracleDecidesAsTheDenseMatrixDoes) {
  const auto made = make_case();
  int64_t local = 0;
  for (const auto tau : {0.3, 0.6, 0.8, 0.95}) {
    const Adaptive oracle({.tau = tau, .window = kWindow, .mass = BulkMass::kTrue});
    const auto read = read_case(made, oracle).bulk->read();
    for (int64_t head = 0; head < 4; ++head) {
      for (int64_t row = 0; row < 6; ++row) {
        const auto [window, bulks] = dense_masses(made, head, row);
        const bool expected = window - joined(bulks) >= log_odds(tau);
        local += expected ? 1 : 0;
        for (int64_t piece = 0; piece < 3; ++piece) {
          EXPECT_EQ(read[0][head][row][piece].item<bool>(), !expected)
              << "tau " << tau << " head " << head << " row " << row;
        }
      }
    }
  }
  EXPECT_GT(local, 20);  // of 96: both kinds are there
  EXPECT_LT(local, 76);
}

TEST(Adaptive, DecidesByTheClosedForm) {
  const auto made = make_case();
  std::vector<Tensor> bulks;
  for (const auto& bulk : kBulks) {
    bulks.push_back(made.keys.index_select(2, torch::tensor(bulk, torch::kInt64)));
  }
  const auto all = torch::cat(bulks, 2);  // [1, kv_heads, 12, features]
  for (const auto covariance : {Covariance::kFull, Covariance::kDiagonal}) {
    const Adaptive adaptive({.tau = 0.7, .window = kWindow, .covariance = covariance});
    const auto read = read_case(made, adaptive).bulk->read();
    for (int64_t head = 0; head < 4; ++head) {
      const auto k = all[0][head / 2];
      auto sigma = torch::matmul((k - k.mean(0)).t(), k - k.mean(0)) / 12;
      if (covariance == Covariance::kDiagonal) sigma = sigma.diagonal().diag();
      for (int64_t row = 0; row < 6; ++row) {
        const auto q = made.query[0][head][row] / std::sqrt(8.0);
        const auto estimate =
            std::log(12.0) + (q.dot(k.mean(0)) + q.dot(sigma.mv(q)) / 2).item<double>();
        const bool local = dense_masses(made, head, row).first - estimate >= log_odds(0.7);
        EXPECT_EQ(read[0][head][row].any().item<bool>(), !local);
      }
    }
  }
}

/// The fewest bulks with which the mass of what is read is tau of all, tried from the definition.
TEST(Adaptive, MixtureReadsTheFewestPiecesThatSuffice) {
  const auto made = make_case();
  int64_t some = 0;
  for (const auto tau : {0.5, 0.8, 0.95}) {
    const Adaptive mixture(
        {.tau = tau, .window = kWindow, .mass = BulkMass::kTrue, .mixture = true});
    const auto read = read_case(made, mixture).bulk->read();
    for (int64_t head = 0; head < 4; ++head) {
      for (int64_t row = 0; row < 6; ++row) {
        const auto [window, bulks] = dense_masses(made, head, row);
        std::vector<int64_t> order(3);
        std::iota(order.begin(), order.end(), 0);
        std::sort(order.begin(), order.end(),
                  [&, &b = bulks](auto i, auto j) { return b[i] > b[j]; });
        double all = std::exp(window), kept = std::exp(window);
        for (const auto bulk : bulks) all += std::exp(bulk);
        std::vector<bool> expected(3);
        for (const auto piece : order) {
          if (kept >= tau * all) break;
          expected[piece] = true;
          kept += std::exp(bulks[piece]);
        }
        some += std::count(expected.begin(), expected.end(), true) == 1 ? 1 : 0;
        for (int64_t piece = 0; piece < 3; ++piece) {
          EXPECT_EQ(read[0][head][row][piece].item<bool>(), expected[piece])
              << "tau " << tau << " head " << head << " row " << row << " piece " << piece;
        }
      }
    }
  }
  EXPECT_GT(some, 5);  // rows that read one bulk of two
}

TEST(Adaptive, MixtureOfOnePieceIsThePlainTest) {
  auto made = make_case();
  made.sets = read_sets(3, {21}, {4, 2}, {1, 0});
  for (const auto mass : {BulkMass::kTrue, BulkMass::kEstimated}) {
    for (const auto tau : {0.0, 0.2, 0.5, 0.9, 0.99, 1.0}) {
      AdaptiveOptions options{.tau = tau, .window = kWindow, .mass = mass};
      const auto plain = read_case(made, Adaptive(options)).bulk->read();
      options.mixture = true;
      EXPECT_TRUE(torch::equal(read_case(made, Adaptive(options)).bulk->read(), plain)) << tau;
    }
  }
}

TEST(Adaptive, EndsOfTauAreExact) {
  const auto made = make_case();
  const auto dense = read_case(made, All()).row;
  for (const bool mixture : {false, true}) {
    for (const auto mass : {BulkMass::kTrue, BulkMass::kEstimated}) {
      const auto at = [&](double tau) {
        return read_case(
            made, Adaptive({.tau = tau, .window = kWindow, .mass = mass, .mixture = mixture}));
      };
      EXPECT_FALSE(at(0).bulk->read().any().item<bool>());
      // Every bulk that holds a key; the second piece has none, and nobody needs it.
      const auto read = at(1).bulk->read();
      EXPECT_TRUE(read.select(3, 0).all().item<bool>() && read.select(3, 2).all().item<bool>());
      EXPECT_LT(max_error(at(1).row.out, dense.out), 1e-13);  // only the order of sums differs
      EXPECT_LT(max_error(at(1e-300).bulk->read(), at(0).bulk->read()), 0.5);
    }
  }
}

constexpr BulkMass kMasses[] = {BulkMass::kTrue, BulkMass::kEstimated, BulkMass::kBounded};

/// A factor on the scores of a piece is one on its keys, for what is decided as for what is read.
TEST(Adaptive, ReadsSetsWithTheirFactors) {
  const auto made = make_case();
  for (const auto& factors : std::vector<std::vector<double>>{{0.5, 1, 2}, {0.5, 0.5, 0.5}}) {
    auto with = made, scaled = made;
    scaled.keys = made.keys.clone();
    const std::vector<int64_t> first{3, 10, 12}, last{10, 12, 24};  // keys of the pieces
    for (int64_t piece = 0; piece < 3; ++piece) {
      with.sets = with.sets.with_factor(1 + piece, factors[piece]);
      scaled.keys.slice(2, first[piece], last[piece]).mul_(factors[piece]);
    }
    const auto dense = attend(with.query, with.keys, with.values, with.sets);
    for (const auto mass : kMasses) {
      for (const bool mixture : {false, true}) {
        AdaptiveOptions options{.tau = 1, .window = kWindow, .mass = mass, .mixture = mixture};
        const auto all = read_case(with, Adaptive(options)).row;  // reads every key
        EXPECT_LT(max_error(all.out, dense.out), 1e-12);  // float64: only the order of sums differs
        EXPECT_LT(max_error(all.set_lse, dense.set_lse), 1e-12);
        options.tau = 0.7;
        const auto found = read_case(with, Adaptive(options));
        const auto expected = read_case(scaled, Adaptive(options));
        EXPECT_TRUE(torch::equal(found.bulk->read(), expected.bulk->read())) << mixture;
        EXPECT_LT(max_error(found.row.out, expected.row.out), 1e-12) << mixture;
        EXPECT_LT(max_error(found.row.set_lse, expected.row.set_lse), 1e-12) << mixture;
      }
    }
    // Estimates that a caller keeps are of keys as they are.
    const auto split = split_window(with.sets, kWindow);
    const auto moments = LocalKeys(with.keys, with.values).moments(split.bulk);
    const std::vector<KeyMoments> bulks(moments.begin() + split.meaning.bulk(0), moments.end());
    for (const bool mixture : {false, true}) {
      const Adaptive adaptive({.tau = 0.7, .window = kWindow, .mixture = mixture});
      const auto kept =
          model_bulks(*adaptive.needs().bulk, bulks, 1 / std::sqrt(8.0), torch::kFloat64);
      const auto found = read_rows(adaptive, with.query, with.keys, with.values, with.sets,
                                   with.queries, {}, 0, {.estimates = &kept});
      const auto expected = read_case(scaled, adaptive);
      EXPECT_TRUE(torch::equal(found.bulk->read(), expected.bulk->read())) << mixture;
    }
  }
}

/// A caller's factor on rows is one on their queries.
TEST(Adaptive, DecidesByScoresWithTheCallersFactor) {
  const auto made = make_case();
  auto tripled = made;
  tripled.query = 3 * made.query;
  const RowOptions options{.factor = torch::full({1, 1, 1}, 3.0, kF64)};
  for (const auto mass : kMasses) {
    for (const bool mixture : {false, true}) {
      const Adaptive adaptive({.tau = 0.7, .window = kWindow, .mass = mass, .mixture = mixture});
      const auto found = read_case(made, adaptive, options);
      const auto expected = read_case(tripled, adaptive);
      EXPECT_TRUE(torch::equal(found.bulk->read(), expected.bulk->read())) << mixture;
      EXPECT_LT(max_error(found.row.out, expected.row.out), 1e-12) << mixture;
      ASSERT_TRUE(found.factor.has_value());
      EXPECT_TRUE(torch::equal(*found.factor, *options.factor));
    }
  }
}

/// Keys below a caller's threshold have no mass, in the bulk as in the window.
TEST(Adaptive, DecidesByScoresAboveTheCallersThreshold) {
  const auto made = make_case();
  const Adaptive oracle({.window = kWindow, .mass = BulkMass::kTrue});
  EXPECT_TRUE(read_case(made, oracle).bulk->read().any().item<bool>());
  const RowOptions options{.threshold = torch::full({1, 4, 6}, 100.0, kF64)};
  EXPECT_FALSE(read_case(made, oracle, options).bulk->read().any().item<bool>());
}

TEST(Adaptive, FoldsToTheSetsThatEveryoneSees) {
  const auto made = make_case();
  const auto dense = read_case(made, All(), {.top = 4}).row;
  const auto folded = read_case(made, Adaptive({.tau = 1, .window = kWindow}), {.top = 4}).row;
  // float64: only the order of sums differs
  EXPECT_LT(max_error(folded.out, dense.out), 1e-12);
  EXPECT_LT(max_error(folded.lse, dense.lse), 1e-12);
  EXPECT_LT(max_error(folded.entropy, dense.entropy), 1e-12);
  EXPECT_LT(max_error(folded.set_lse, dense.set_lse), 1e-12);
  EXPECT_LT(max_error(folded.set_entropy, dense.set_entropy), 1e-12);
  EXPECT_LT(max_error(folded.within() + folded.between(), folded.entropy), 1e-12);
  EXPECT_LT(max_error(folded.set_top, score(made.query, made.keys, made.sets, 4).top), 1e-12);
}

TEST(Adaptive, ALocalRowIsAttentionOverItsWindow) {
  const auto made = make_case();
  const auto row = read_case(made, Adaptive({.tau = 0, .window = kWindow})).row;
  const auto expected = reference::attend(made.query, made.keys, made.values,
                                          split_window(made.sets, kWindow).window);
  EXPECT_LT(max_error(row.out, expected.out), 1e-12);  // float64: the order of sums
  EXPECT_LT(max_error(row.entropy, expected.entropy), 1e-12);
}

TEST(Adaptive, GradientsAreThoseOfWhatIsRead) {
  const auto made = make_case();
  const Adaptive adaptive({.tau = 0.7, .window = kWindow});
  const auto log_weight = [&] {  // what it decides, as a constant
    const auto read = read_case(made, adaptive).bulk->read();
    auto weight = torch::zeros({1, 4, 6, 8}, kF64);
    weight.slice(3, 5).masked_fill_(read.logical_not(), -kInfinity);
    return weight;
  }();
  const auto gradient = [&](const std::function<Row(const Tensor&, const Tensor&)>& rows) {
    const auto q = made.query.clone().requires_grad_(), k = made.keys.clone().requires_grad_();
    const auto row = rows(q, k);
    (row.out.sum() + row.entropy.sum() + row.set_lse.slice(3, 1, 4).sum()).backward();
    return std::pair(q.grad(), k.grad());
  };
  const auto [query, keys] = gradient([&](const Tensor& q, const Tensor& k) {
    return read_rows(adaptive, q, k, made.values, made.sets, made.queries).row;
  });
  const auto split = split_window(made.sets, kWindow);
  const auto [expected_query, expected_keys] = gradient([&](const Tensor& q, const Tensor& k) {
    auto row = reference::attend(q, k, made.values, split.all, log_weight);
    row.set_lse =
        torch::cat({row.set_lse.slice(3, 0, 1),
                    torch::logsumexp(torch::stack({row.set_lse.slice(3, 1, 4).clamp_min(-1e9),
                                                   row.set_lse.slice(3, 5).clamp_min(-1e9)}),
                                     0)},
                   3);
    return row;
  });
  EXPECT_LT(max_error(query, expected_query), 1e-11);  // float64: the order of sums
  EXPECT_LT(max_error(keys, expected_keys), 1e-11);
}

class AdaptiveKernel : public ByKernel {};

INSTANTIATE_TEST_SUITE_P(Kernels, AdaptiveKernel, testing::ValuesIn(kernels()), name_of_kernel);

/// What a local row leaves out is not touched: not its keys, not its values. For many rows, and for
/// one as while generating.
TEST_P(AdaptiveKernel, ADroppedBulkIsNotTouched) {
  for (const int64_t rows : {1, 70}) {
    torch::manual_seed(2);
    const auto sets = read_sets(0, {900}, {rows}, {3});
    const auto query = torch::randn({1, 6, rows, 16});
    const auto keys = torch::randn({1, 2, sets.keys(), 16}), values = torch::randn_like(keys);
    // Heads 0 to 2 share the first head of keys, the others the second: of the second, none is
    // long.
    const FixedHeads heads(torch::tensor({{1, 0, 1, 0, 0, 0}}).to(torch::kBool));
    const auto read = [&](const Reading& reading) {
      return read_rows(reading, query, keys, values, sets, {0, rows}).row;
    };
    const auto before = read(heads), local = read(Adaptive({.tau = 0}));
    for (auto of : {keys, values}) {
      of.select(1, 1).slice(1, 16, 900 - 128).fill_(std::nan(""));
    }
    const auto after = read(heads);
    EXPECT_TRUE(torch::equal(after.out, before.out)) << rows;
    EXPECT_TRUE(torch::equal(after.entropy, before.entropy)) << rows;
    for (auto of : {keys, values}) {
      of.slice(2, 16, 900 - 128).fill_(std::nan(""));
    }
    // The moments were made before: an estimate that touches no key.
    const KeyEstimates bulks{std::make_shared<GaussianKeys>(
        moments_of(torch::randn({1, 2, 756, 16})), Covariance::kFull, 0.25, torch::kFloat32)};
    const auto without = read_rows(Adaptive({.tau = 0}), query, keys, values, sets, {0, rows}, {},
                                   0, {.estimates = &bulks})
                             .row;
    EXPECT_TRUE(torch::equal(without.out, local.out)) << rows;
    EXPECT_TRUE(torch::isfinite(without.entropy).all().item<bool>()) << rows;
  }
}

/// One long head reads what the other heads of its group drop, whichever it is.
TEST_P(AdaptiveKernel, EveryLongHeadOfAGroupReads) {
  for (const int64_t rows : {1, 70}) {
    torch::manual_seed(5);
    const auto sets = read_sets(0, {900}, {rows}, {3});
    const auto query = torch::randn({1, 6, rows, 16}, kF64);
    const auto keys = torch::randn({1, 2, sets.keys(), 16}, kF64), values = torch::randn_like(keys);
    for (int64_t head = 0; head < 6; ++head) {
      const FixedHeads heads((torch::arange(6) == head).unsqueeze(0));
      const auto read = [&](torch::ScalarType dtype) {
        return read_rows(heads, query.to(dtype), keys.to(dtype), values.to(dtype), sets, {0, rows});
      };
      const auto found = read(torch::kFloat32), expected = read(torch::kFloat64);
      EXPECT_LT(max_error(found.row.out, expected.row.out), 1e-5) << rows << " rows, " << head;
      EXPECT_LT(max_error(found.row.lse, expected.row.lse), 1e-5) << rows << " rows, " << head;
    }
  }
}

/// In vectors of whatever width, with and without a rest, for one row and for several at once: what
/// float64 says.
TEST_P(AdaptiveKernel, GaussianMassIsThatOfDoublePrecision) {
  torch::manual_seed(6);
  for (const int64_t features : {8, 24, 64, 80, 256}) {
    for (const int64_t batch : {1, 2}) {
      const auto moments = moments_of(torch::randn({batch, 2, 400, features}, kF64) + 0.3);
      for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
        const auto query = torch::randn({2, 7, 6, features}).transpose(1, 2).to(dtype);
        for (const auto covariance : {Covariance::kFull, Covariance::kDiagonal}) {
          const auto scale = 1 / std::sqrt(static_cast<double>(features));
          const GaussianKeys fast(moments, covariance, scale, torch::kFloat32),
              exact(moments, covariance, scale, torch::kFloat64);
          const auto expected = exact.log_mass(query.to(torch::kFloat64));
          // fp32: masses reach 10, sums have up to 256 terms.
          EXPECT_LT(max_error(fast.log_mass(query), expected), 1e-5)
              << features << " features, " << batch << " means, " << dtype;
        }
      }
    }
  }
}

TEST_P(AdaptiveKernel, FoldsAndDecidesAsInDoublePrecision) {
  const auto exact = make_case(), made = make_case(torch::kFloat32);
  for (const auto tau : {0.3, 0.6, 0.95}) {
    const Adaptive adaptive({.tau = tau, .window = kWindow});
    const auto found = read_case(made, adaptive), expected = read_case(exact, adaptive);
    EXPECT_TRUE(torch::equal(found.bulk->read(), expected.bulk->read())) << tau;
    for (const auto& [row, other] : {std::pair{found.row.set_lse, expected.row.set_lse},
                                     {found.row.set_entropy, expected.row.set_entropy},
                                     {found.row.lse, expected.row.lse},
                                     {found.row.out, expected.row.out}}) {
      EXPECT_LT(max_error(row, other), 5e-6) << tau;  // fp32: scores reach 10
    }
  }
}

TEST(FixedHeads, ReadsWithLongHeadsOnly) {
  const auto made = make_case();
  const auto is_long = torch::tensor({{1, 0, 0, 1}, {0, 0, 1, 1}}).to(torch::kBool);
  const FixedHeads heads(is_long, kWindow, "static");
  EXPECT_EQ(heads.name(), "static(4 of 8 long)");
  const auto read =
      read_rows(heads, made.query, made.keys, made.values, made.sets, made.queries, {}, /*layer=*/1)
          .bulk->read();
  EXPECT_TRUE(torch::equal(read, is_long[1].view({1, 4, 1, 1}).expand({1, 4, 6, 3})));
  EXPECT_EQ(
      message([&] {
        read_rows(heads, made.query, made.keys, made.values, made.sets, made.queries, {}, 2);
      }),
      "motet::FixedHeads: layer 2 with 4 heads, but the pattern is of 2 layers of 4 heads; it "
      "was made for another model");
}

TEST(Adaptive, NamesAndErrors) {
  EXPECT_EQ(reading_named("adaptive")->name(), "adaptive(tau=0.95)");
  EXPECT_EQ(reading_named("adaptive:0.8:full")->name(), "adaptive(tau=0.8)");
  EXPECT_EQ(reading_named("adaptive:0.8:diagonal:mixture")->name(),
            "adaptive(tau=0.8, diagonal, mixture)");
  EXPECT_EQ(Adaptive({.mass = BulkMass::kTrue}).name(), "oracle(tau=0.95)");
  EXPECT_EQ(message([] { reading_named("adaptive:1.2"); }),
            "motet::Adaptive: tau = 1.2; it is within [0, 1]");
  EXPECT_NE(message([] {
              reading_named("adaptive:0.9:some");
            }).find("the covariance 'some' is not full or diagonal"),
            std::string::npos);
  EXPECT_NE(message([] { reading_named("adaptive:0.9:full:mix"); }).find("'mix' is not mixture"),
            std::string::npos);
  const auto made = make_case();
  const auto sets = read_sets(3, {}, {6}, {made.sets.keys() - 9});
  const auto rows = read_rows(Adaptive(), made.query, made.keys, made.values, sets, {0, 6});
  EXPECT_FALSE(rows.bulk.has_value());  // without pieces there is no bulk
  const RowOptions options{.factor = torch::full({1, 1, 1}, 3.0, kF64)};
  EXPECT_TRUE(read_rows(Adaptive(), made.query, made.keys, made.values, sets, {0, 6}, options)
                  .factor.has_value());
}

}  // namespace
}  // namespace motet
