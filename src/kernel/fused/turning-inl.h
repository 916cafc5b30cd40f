// Rows that become lanes, and lanes that become rows: blocks of four by four, transposed. Included
// once for each instruction set by Highway.

#if defined(MOTET_ATTENTION_TURNING_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_TURNING_INL_H_
#undef MOTET_ATTENTION_TURNING_INL_H_
#else
#define MOTET_ATTENTION_TURNING_INL_H_
#endif

#include <array>
#include <cstdint>

#include "kernel/fused/lanes-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// A vector of blocks of 16 bytes, which lie where `block_at` says.
template <class Tag, class BlockAt>
HWY_INLINE hn::Vec<Tag> LoadBlocks(Tag d, const BlockAt& block_at, int64_t first = 0) {
  constexpr auto kBlocks = static_cast<int64_t>(hn::MaxLanes(Tag()) * sizeof(hn::TFromD<Tag>)) / 16;
  if constexpr (kBlocks == 1) {
    return hn::LoadU(d, block_at(first));
  } else {
    const hn::Half<Tag> half;
    return hn::Combine(d, LoadBlocks(half, block_at, first + kBlocks / 2),
                       LoadBlocks(half, block_at, first));
  }
}

template <class Tag, class BlockAt>
HWY_INLINE void StoreBlocks(Tag d, hn::Vec<Tag> x, const BlockAt& block_at, int64_t first = 0) {
  constexpr auto kBlocks = static_cast<int64_t>(hn::MaxLanes(Tag()) * sizeof(hn::TFromD<Tag>)) / 16;
  if constexpr (kBlocks == 1) {
    hn::StoreU(x, d, block_at(first));
  } else {
    const hn::Half<Tag> half;
    StoreBlocks(half, hn::LowerHalf(half, x), block_at, first);
    StoreBlocks(half, hn::UpperHalf(half, x), block_at, first + kBlocks / 2);
  }
}

HWY_INLINE V LowerPairs(V a, V b) {
  const D d;
  const hn::RepartitionToWide<D> pairs;
  return hn::BitCast(d, hn::InterleaveLower(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
}

HWY_INLINE V UpperPairs(V a, V b) {
  const D d;
  const hn::RepartitionToWide<D> pairs;
  return hn::BitCast(d, hn::InterleaveUpper(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
}

/// Transposes each block of four by four.
HWY_INLINE void TransposeBlocks(V (&x)[4]) {
  const D d;
  const auto a = hn::InterleaveLower(d, x[0], x[1]), b = hn::InterleaveLower(d, x[2], x[3]);
  const auto c = hn::InterleaveUpper(d, x[0], x[1]), e = hn::InterleaveUpper(d, x[2], x[3]);
  x[0] = LowerPairs(a, b);
  x[1] = UpperPairs(a, b);
  x[2] = LowerPairs(c, e);
  x[3] = UpperPairs(c, e);
}

/// Calls `store(i, k, x)` for `count` i, in fours from i to i + 4: the k-th of four vectors that
/// `load(i, k)` gave, block by block transposed.
template <class Load, class Store>
HWY_INLINE void TransposeFours(int64_t count, const Load& load, const Store& store) {
  for (int64_t i = 0; i < count; i += 4) {
    V x[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      x[k] = load(i, k);
    }
    TransposeBlocks(x);
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      store(i, k, x[k]);
    }
  }
}

/// The rows of a vector's lanes.
template <class RowOf>
HWY_INLINE auto RowsOf(const RowOf& row_of) {
  std::array<decltype(row_of(0)), kVector> rows;
  for (int64_t lane = 0; lane < kVector; ++lane) {
    rows[lane] = row_of(lane);
  }
  return rows;
}

/// to[i][lane] = row_of(lane)[i] for a vector of lanes and `count` i, a multiple of 4; rows of `to`
/// are kStride apart.
template <int64_t kStride, class RowOf>
HWY_INLINE void ToLanes(const RowOf& row_of, int64_t count, float* HWY_RESTRICT to) {
  const D d;
  const auto rows = RowsOf(row_of);
  TransposeFours(
      count,
      [&](int64_t i, int k) HWY_ATTR {
        return LoadBlocks(d, [&](int64_t block) HWY_ATTR { return rows[4 * block + k] + i; });
      },
      [&](int64_t i, int k, V x) HWY_ATTR { hn::Store(x, d, to + (i + k) * kStride); });
}

/// row_of(lane)[i] = from[i][lane] factor[lane]: the way back.
template <int64_t kStride, class RowOf>
HWY_INLINE void ToRows(const float* HWY_RESTRICT from, V factor, int64_t count,
                       const RowOf& row_of) {
  const D d;
  const auto rows = RowsOf(row_of);
  TransposeFours(
      count,
      [&](int64_t i, int k)
          HWY_ATTR { return hn::Mul(hn::Load(d, from + (i + k) * kStride), factor); },
      [&](int64_t i, int k, V x) HWY_ATTR {
        StoreBlocks(d, x, [&](int64_t block) HWY_ATTR { return rows[4 * block + k] + i; });
      });
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
