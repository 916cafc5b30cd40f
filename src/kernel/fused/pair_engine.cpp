#include <algorithm>

#include "kernel/fused/matrix_engine.h"
#include "kernel/target.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace motet::fused {

#if defined(__x86_64__)
namespace {

#define MOTET_PAIRS __attribute__((target("avx512f,avx512bf16")))

constexpr int64_t kLanes = 16;  // of a vector
constexpr int kRows = 8;        // whose sums are in registers: two vectors each, 16 of 32
static_assert(kEngineLanes == 2 * kLanes && kEngineRows % kRows == 0);

/// The two elements of a row at `from`, for all lanes.
MOTET_PAIRS inline __m512bh pair_at(const uint16_t* from) {
  int pair;
  __builtin_memcpy(&pair, from, sizeof pair);
  return reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair));
}

MOTET_PAIRS inline __m512bh load_pairs(const uint32_t* from) {
  return reinterpret_cast<__m512bh>(_mm512_loadu_si512(from));
}

/// kRows rows of a product. They are summed apart and then added, as short sums round less.
MOTET_PAIRS void multiply_rows(const uint16_t* __restrict a, int64_t stride,
                               const uint32_t* __restrict b, int64_t depth, bool add,
                               float* __restrict out) {
  __m512 sum[kRows][2];
#pragma GCC unroll 8
  for (auto& of_row : sum) {
    of_row[0] = of_row[1] = _mm512_setzero_ps();
  }
#pragma GCC unroll 1
  for (int64_t k = 0; k < depth; k += 2, b += kEngineLanes) {
    const auto first = load_pairs(b), second = load_pairs(b + kLanes);
#pragma GCC unroll 8
    for (int row = 0; row < kRows; ++row) {
      const auto left = pair_at(a + row * stride + k);
      sum[row][0] = _mm512_dpbf16_ps(sum[row][0], left, first);
      sum[row][1] = _mm512_dpbf16_ps(sum[row][1], left, second);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 2 * kRows; ++i) {
    auto* to = out + i * kLanes;
    const auto& of_row = sum[i / 2][i % 2];
    _mm512_storeu_ps(to, add ? _mm512_add_ps(_mm512_loadu_ps(to), of_row) : of_row);
  }
}

struct Pairs {
  static void begin() {}
  static void end() {}
  static int64_t steps(const EngineProduct& product) {
    return (product.rows - product.row) / kEngineRows;
  }
  static void advance(EngineProduct& product, int64_t steps) {
    const auto end = std::min(product.rows, product.row + steps * kEngineRows);
    for (; product.row < end; product.row += kRows) {
      multiply_rows(product.a + product.row * product.stride, product.stride, product.b,
                    product.depth, product.add, product.out + product.row * kEngineLanes);
    }
  }
};

constexpr MatrixEngine kPairs{.is_apart = false,
                              .begin = &Pairs::begin,
                              .steps = &Pairs::steps,
                              .advance = &Pairs::advance,
                              .end = &Pairs::end};

}  // namespace
#endif

const MatrixEngine* pair_engine() {
#if defined(__x86_64__)
  return processor().avx512_bfloat16 ? &kPairs : nullptr;
#else
  return nullptr;
#endif
}

}  // namespace motet::fused
