#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <random>
#include <vector>

#include "attention/cases.h"
#include "kernel/bfloat16.h"
#include "kernel/fused/matrix_engine.h"
#include "motet/attention/rows.h"
#include "reference/attention.h"

namespace motet {
namespace {

using fused::EngineProduct;
using fused::kEngineLanes;
using fused::MatrixEngine;

struct NamedEngine {
  std::string_view name;
  const MatrixEngine* engine;

  friend std::ostream& operator<<(std::ostream& out, const NamedEngine& e) { return out << e.name; }
};

/// Those of this processor that have tiles, whose sums are AMX's to the bit.
std::vector<NamedEngine> tile_engines() {
  std::vector<NamedEngine> all{{"emulated", fused::emulated_engine()},
                               {"amx", fused::amx_engine()}};
  std::erase_if(all, [](const NamedEngine& engine) { return engine.engine == nullptr; });
  return all;
}

/// All of this processor's.
std::vector<NamedEngine> engines() {
  auto all = tile_engines();
  if (fused::pair_engine() != nullptr) {
    all.push_back({"pairs", fused::pair_engine()});
  }
  return all;
}

/// A product of random matrices, whose rows of `a` have gaps.
struct Factors {
  std::vector<uint16_t> a;
  std::vector<uint32_t> b;
  std::vector<float> out;
  int64_t rows, depth, stride;

  Factors(int64_t rows, int64_t depth)
      : a(rows * (depth + 8)),
        b(depth / 2 * kEngineLanes),
        out(rows * kEngineLanes),
        rows(rows),
        depth(depth),
        stride(depth + 8) {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    for (auto& x : a) {
      x = narrow(normal(random));
    }
    for (auto& x : b) {
      x = static_cast<uint32_t>(narrow(normal(random))) << 16 | narrow(normal(random));
    }
    for (auto& x : out) {
      x = normal(random);
    }
  }

  double left(int64_t row, int64_t k) const { return widen(a[row * stride + k]); }
  double right(int64_t k, int64_t lane) const {
    return widen(static_cast<uint16_t>(b[k / 2 * kEngineLanes + lane] >> (k % 2 * 16)));
  }

  /// In steps, `together` of them at a time.
  std::vector<float> multiplied(const MatrixEngine& engine, bool add, int64_t together = 1) const {
    auto result = out;
    EngineProduct product{a.data(), stride, b.data(), rows, depth, add, result.data()};
    engine.begin();
    for (auto left = engine.steps(product); left > 0; left = engine.steps(product)) {
      engine.advance(product, together);
      EXPECT_EQ(engine.steps(product), std::max<int64_t>(left - together, 0));
    }
    engine.end();
    return result;
  }
};

using Engine = testing::TestWithParam<NamedEngine>;

INSTANTIATE_TEST_SUITE_P(Engines, Engine, testing::ValuesIn(engines()),
                         testing::PrintToStringParamName());

TEST_P(Engine, MultipliesAsDoublePrecisionDoes) {
  for (const int64_t rows : {16, 32, 48, 128}) {
    for (const int64_t depth : {32, 64, 96}) {
      for (const bool add : {false, true}) {
        const Factors factors(rows, depth);
        const auto found = factors.multiplied(*GetParam().engine, add);
        for (int64_t row = 0; row < rows; ++row) {
          for (int64_t lane = 0; lane < kEngineLanes; ++lane) {
            const auto at = row * kEngineLanes + lane;
            double expected = add ? factors.out[at] : 0, size = std::fabs(expected);
            for (int64_t k = 0; k < depth; ++k) {
              const auto term = factors.left(row, k) * factors.right(k, lane);
              expected += term;
              size += std::fabs(term);
            }
            ASSERT_NEAR(found[at], expected, 1e-6 * size)
                << rows << " rows, depth " << depth << ", row " << row << ", lane " << lane;
          }
        }
      }
    }
  }
}

TEST_P(Engine, HasTheSameBitsInAnyNumberOfSteps) {
  for (const int64_t rows : {16, 48, 128}) {
    for (const int64_t depth : {32, 64, 96}) {
      for (const bool add : {false, true}) {
        const Factors factors(rows, depth);
        const auto by_one = factors.multiplied(*GetParam().engine, add);
        for (const int64_t together : {3, 100}) {
          EXPECT_EQ(factors.multiplied(*GetParam().engine, add, together), by_one)
              << rows << " rows, depth " << depth << ", " << together << " steps";
        }
      }
    }
  }
}

TEST_P(Engine, TakesNumbersBelowTheNormalOnesAsZero) {
  Factors factors(16, 32);
  factors.a.assign(factors.a.size(), 1);  // 2^-133
  for (const auto x : factors.multiplied(*GetParam().engine, false)) {
    ASSERT_EQ(x, 0);
  }
  factors.a.assign(factors.a.size(), narrow(0x1p-100F));
  factors.b.assign(factors.b.size(), static_cast<uint32_t>(narrow(0x1p-40F)));
  for (const auto x : factors.multiplied(*GetParam().engine, false)) {
    ASSERT_EQ(x, 0);
  }
}

using TileEngine = Engine;

INSTANTIATE_TEST_SUITE_P(Engines, TileEngine, testing::ValuesIn(tile_engines()),
                         testing::PrintToStringParamName());

TEST_P(TileEngine, AddsProductsBeforeTheyAreRounded) {
  // The sum of two products with `right`, both of even elements.
  const auto sums_of = [](float first, float second, float right) {
    Factors factors(16, 32);
    factors.a.assign(factors.a.size(), 0);
    factors.b.assign(factors.b.size(), 0);
    std::fill_n(factors.b.begin(), 2 * kEngineLanes, narrow(right));
    for (int64_t row = 0; row < factors.rows; ++row) {
      factors.a[row * factors.stride] = narrow(first);
      factors.a[row * factors.stride + 2] = narrow(second);
    }
    return factors.multiplied(*GetParam().engine, false);
  };
  for (const auto x : sums_of(-0x1.8p63F, 0x1p64F, 0x1p64F)) {  // 2^128 alone would be infinite
    ASSERT_EQ(x, 0x1p126F);
  }
  for (const auto x : sums_of(0x1p-62F, 0x1p-63F, 0x1p-64F)) {  // 2^-127 alone would be 0
    ASSERT_EQ(x, 0x1.8p-126F);
  }
}

TEST_P(TileEngine, HasTheBitsOfTheEmulatedOne) {
  for (const bool add : {false, true}) {
    const Factors factors(48, 256);
    const auto found = factors.multiplied(*GetParam().engine, add);
    const auto emulated = factors.multiplied(*fused::emulated_engine(), add);
    EXPECT_EQ(std::memcmp(found.data(), emulated.data(), found.size() * sizeof(float)), 0);
  }
}

/// The kernels that take an engine's products.
std::vector<std::string_view> engine_kernels() {
  auto names = tested_kernels();
  std::erase_if(names, [](std::string_view name) {
    return !name.starts_with("amx") && name != "avx512_bf16";
  });
  return names;
}

using EngineKernel = ByKernel;

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EngineKernel);  // a processor without AVX-512
INSTANTIATE_TEST_SUITE_P(Kernels, EngineKernel, testing::ValuesIn(engine_kernels()),
                         name_of_kernel);

TEST_P(EngineKernel, EqualsTheTwin) {
  for (const auto& shape : shapes()) {
    for (const bool weighted : {false, true}) {
      SCOPED_TRACE(testing::Message() << shape << (weighted ? ", log weights" : ""));
      const auto in = inputs(shape, torch::kBFloat16);
      const auto log_weight = weighted ? std::optional(log_weights(shape)) : std::nullopt;
      const auto row = attend(in.query, in.key_list, in.value_list, shape.sets, log_weight);
      const auto twin = reference::attend(in.query, in.keys, in.values, shape.sets, log_weight);
      // As in rows_test.cpp, though weights are rounded to bf16, too.
      EXPECT_LT(reference::max_error(row.out, twin.out), 0.02);
      EXPECT_LT(reference::max_error(row.lse, twin.lse), 5e-5);
      EXPECT_LT(reference::max_error(row.entropy, twin.entropy), 5e-5);
      EXPECT_LT(reference::max_error(row.set_lse, twin.set_lse), 5e-5);
      EXPECT_LT(reference::max_error(row.set_entropy, twin.set_entropy), 5e-5);
    }
  }
}

/// The rows of two kernels that add up in the same order have the same bits.
TEST_P(EngineKernel, MultipliesBFloat16AloneAndWhereNoThresholdPartsKeys) {
  const auto sets = causal_keys(90, 700);
  const Shape shape{"", 1, 6, 2, 32, sets, {700}, 1};
  const std::vector<std::pair<RowOptions, bool>> wishes{
      {{}, true},
      {{.entropy = false}, true},
      {{.top = 3}, true},
      {{.threshold = torch::full({1, 6, 90}, -1.0f)}, false},
      {{.budget = {.keys = 4}}, false}};
  for (std::size_t i = 0; i < wishes.size(); ++i) {
    const auto& [options, takes_engine] = wishes[i];
    for (const auto dtype : {torch::kFloat32, torch::kBFloat16}) {
      const auto in = inputs(shape, dtype);
      const auto attend_with = [&](std::string_view kernel) {
        use_kernel(kernel);
        return attend(in.query, in.keys, in.values, sets, {}, options);
      };
      const auto found = attend_with(GetParam()), vectors = attend_with("avx512");
      const bool differs = takes_engine && dtype == torch::kBFloat16;
      EXPECT_EQ(!torch::equal(found.lse, vectors.lse), differs) << "wish " << i << ", " << dtype;
      EXPECT_EQ(!torch::equal(found.out, vectors.out), differs) << "wish " << i << ", " << dtype;
    }
  }
}

/// The engine multiplies queries as they are: scale and sign come later.
TEST_P(EngineKernel, TakesAnyScale) {
  const auto sets = causal_keys(70, 300);
  const auto in = inputs({"", 1, 4, 2, 40, sets, {300}, 1}, torch::kBFloat16);
  for (const double scale : {-0.4, 0.0, 1.0}) {
    const auto attend_with = [&](std::string_view kernel) {
      use_kernel(kernel);
      return attend(in.query, in.keys, in.values, sets, {}, {.rule = {.scale = scale}, .top = 3});
    };
    const auto row = attend_with(GetParam()), expected = attend_with("portable");
    EXPECT_LT(reference::max_error(row.out, expected.out), 0.02) << scale;
    EXPECT_LT(reference::max_error(row.lse, expected.lse), 5e-5) << scale;
    EXPECT_LT(reference::max_error(row.entropy, expected.entropy), 5e-5) << scale;
    EXPECT_LT(reference::max_error(row.set_top, expected.set_top), 5e-5) << scale;
  }
}

/// Units for an engine are larger where there are many rows; a row does not tell.
TEST_P(EngineKernel, UnitsOfAnySizeHaveTheSameBits) {
  constexpr int64_t kHeads = 16, kTogether = 4, kRows = 600;
  const auto sets = causal_keys(kRows, kRows);
  const auto in = inputs({"", 1, kHeads, kHeads, 16, sets, {kRows}, 1}, torch::kBFloat16);
  const auto row = attend(in.query, in.keys, in.values, sets, {}, {.top = 2});
  for (int64_t head = 0; head < kHeads; head += kTogether) {
    const auto some = [&](const torch::Tensor& x) { return x.narrow(1, head, kTogether); };
    const auto small = attend(some(in.query), some(in.keys), some(in.values), sets, {}, {.top = 2});
    EXPECT_TRUE(torch::equal(some(row.out), small.out)) << "head " << head;
    EXPECT_TRUE(torch::equal(some(row.lse), small.lse)) << "head " << head;
    EXPECT_TRUE(torch::equal(some(row.entropy), small.entropy)) << "head " << head;
    EXPECT_TRUE(torch::equal(some(row.set_top), small.set_top)) << "head " << head;
  }
}

/// What pads a product is never taken from beyond a tensor's end, nor does it reach a result.
TEST_P(EngineKernel, NothingBesideItsKeysReachesARow) {
  for (const int64_t keys : {17, 31, 100, 129, 250}) {
    for (const int64_t features : {24, 64}) {
      const auto sets = all_keys(20, keys);
      const Shape shape{"", 1, 2, 1, features, sets, {keys}, 1};
      const auto in = inputs(shape, torch::kBFloat16);
      const auto framed = [&](const torch::Tensor& x) {  // with NaN on all sides
        const auto frame = torch::full({1, 1, keys + 40, features + 40}, std::nan(""), x.options());
        const auto inner = frame.slice(2, 20, 20 + keys).slice(3, 20, 20 + features);
        inner.copy_(x);
        return inner;
      };
      const auto row = attend(in.query, framed(in.keys), framed(in.values), sets);
      const auto expected = attend(in.query, in.keys, in.values, sets);
      EXPECT_TRUE(torch::equal(row.out, expected.out)) << keys << " keys of " << features;
      EXPECT_TRUE(torch::equal(row.entropy, expected.entropy)) << keys << " keys of " << features;
      EXPECT_FALSE(row.out.isnan().any().item<bool>());
    }
  }
}

}  // namespace
}  // namespace motet
