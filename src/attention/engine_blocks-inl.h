// A block of keys in bf16 as a matrix engine takes it: rows of products, and pairs of rows.
// Included once for each instruction set by Highway.

#if defined(MOTET_ATTENTION_ENGINE_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_ENGINE_BLOCKS_INL_H_
#undef MOTET_ATTENTION_ENGINE_BLOCKS_INL_H_
#else
#define MOTET_ATTENTION_ENGINE_BLOCKS_INL_H_
#endif

#include "attention/lanes-inl.h"
#include "attention/matrix_engine.h"

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

constexpr int64_t kEngineKeys = 128;  // of a block

constexpr int64_t RoundedUp(int64_t count, int64_t step) {
  return (count + step - 1) / step * step;
}

/// Rows of a matrix in bf16.
struct NarrowRows {
  const uint16_t* data;
  int64_t stride;
};

/// `count` rows, a multiple of kEngineRows of them, of a multiple of kEngineDepth features: where
/// they lie, or in `room`, with zeros.
HWY_INLINE NarrowRows PadRows(const NarrowRows& rows, int64_t count, int64_t features,
                              uint16_t* HWY_RESTRICT room) {
  const auto padded = RoundedUp(features, kEngineDepth);
  if (padded == features && count % kEngineRows == 0) {
    return rows;
  }
  for (int64_t j = 0; j < RoundedUp(count, kEngineRows); ++j) {
    const auto there = j < count ? features : 0;
    std::copy_n(rows.data + (j < count ? j * rows.stride : 0), there, room + j * padded);
    std::fill_n(room + j * padded + there, padded - there, uint16_t{0});
  }
  return {room, padded};
}

/// Blocks of 8 features of keys that are 8 apart, as many as `d` holds: those from block `first`
/// on.
template <class Narrow, class RowOf>
HWY_INLINE hn::Vec<Narrow> LoadBlocks(Narrow d, const RowOf& row_of, int64_t first = 0) {
  if constexpr (hn::MaxLanes(Narrow()) == 8) {
    return hn::LoadU(d, row_of(8 * first));
  } else {
    const hn::Half<Narrow> half;
    constexpr auto kBlocks = static_cast<int64_t>(hn::MaxLanes(hn::Half<Narrow>())) / 8;
    return hn::Combine(d, LoadBlocks(half, row_of, first + kBlocks),
                       LoadBlocks(half, row_of, first));
  }
}

/// to[f][j] = rows[j][f]: [features up to a multiple of kEngineRows, kEngineKeys], with zeros up to
/// a multiple of kEngineDepth keys.
HWY_INLINE void TransposeRows(const NarrowRows& rows, int64_t count, int64_t features,
                              uint16_t* HWY_RESTRICT to) {
  static constexpr uint16_t kZeros[8] = {};
  const hn::ScalableTag<uint16_t> d16;
  const hn::ScalableTag<uint32_t> d32;
  const hn::ScalableTag<uint64_t> d64;
  constexpr int64_t kStep = HWY_MAX_BYTES / 2;  // keys at a time
  const auto keys = RoundedUp(count, kEngineDepth);
  for (int64_t j = 0; j < keys; j += kStep) {
    int64_t f = 0;
    for (; f + 8 <= features; f += 8) {
      hn::Vec<decltype(d16)> x[8], y[8];
#pragma GCC unroll 8
      for (int64_t i = 0; i < 8; ++i) {
        const auto row_of = [&](int64_t more) HWY_ATTR {
          const auto key = j + i + more;
          return key < count ? rows.data + key * rows.stride + f : kZeros;
        };
        x[i] = LoadBlocks(d16, row_of);
      }
      // Blocks of 8 by 8: neighbours of 1, then of 2, then of 4 keys come together.
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        y[i] = hn::InterleaveLower(d16, x[2 * i], x[2 * i + 1]);
        y[4 + i] = hn::InterleaveUpper(d16, x[2 * i], x[2 * i + 1]);
      }
      const auto lower32 = [&](int a, int b) HWY_ATTR {
        return hn::BitCast(
            d16, hn::InterleaveLower(d32, hn::BitCast(d32, y[a]), hn::BitCast(d32, y[b])));
      };
      const auto upper32 = [&](int a, int b) HWY_ATTR {
        return hn::BitCast(
            d16, hn::InterleaveUpper(d32, hn::BitCast(d32, y[a]), hn::BitCast(d32, y[b])));
      };
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {  // features 0 to 3, then 4 to 7
#pragma GCC unroll 2
        for (int i = 0; i < 2; ++i) {  // keys 0 to 3, then 4 to 7
          x[4 * half + i] = lower32(4 * half + 2 * i, 4 * half + 2 * i + 1);
          x[4 * half + 2 + i] = upper32(4 * half + 2 * i, 4 * half + 2 * i + 1);
        }
      }
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const auto a = hn::BitCast(d64, x[2 * i]), b = hn::BitCast(d64, x[2 * i + 1]);
        auto* at = to + (f + 2 * i) * kEngineKeys + j;
        hn::StoreU(hn::BitCast(d16, hn::InterleaveLower(d64, a, b)), d16, at);
        hn::StoreU(hn::BitCast(d16, hn::InterleaveUpper(d64, a, b)), d16, at + kEngineKeys);
      }
    }
    for (; f < RoundedUp(features, kEngineRows); ++f) {
      for (int64_t i = j; i < j + kStep; ++i) {
        const bool there = f < features && i < count;
        to[f * kEngineKeys + i] = there ? rows.data[i * rows.stride + f] : uint16_t{0};
      }
    }
  }
}

/// scores *= scale; returns each lane's largest.
template <int kVectors>
HWY_INLINE Lanes<kVectors> Scale(float scale, int64_t count, float* HWY_RESTRICT scores) {
  const D d;
  const auto factor = hn::Set(d, scale);
  auto most = Fill<kVectors>(-kInfinity);
  for (int64_t j = 0; j < count; ++j) {
    auto s = LoadLanes<kVectors>(scores + j * Lanes<kVectors>::kCount);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      s.v[v] = hn::Mul(s.v[v], factor);
      most.v[v] = hn::Max(most.v[v], s.v[v]);
    }
    StoreLanes(s, scores + j * Lanes<kVectors>::kCount);
  }
  return most;
}

/// Weights of keys 2i and 2i + 1 as a pair of bf16, to the nearest; zeros up to a multiple of
/// kEngineDepth keys.
template <int kVectors>
HWY_INLINE void PairWeights(const float* HWY_RESTRICT weights, int64_t count,
                            uint32_t* HWY_RESTRICT pairs) {
  constexpr auto kLanes = Lanes<kVectors>::kCount;
  const D d;
  const hn::RebindToUnsigned<D> bits;
  const auto half = hn::Set(bits, 0x8000U), upper = hn::Set(bits, 0xffff0000U);
  for (int64_t j = 0; j < RoundedUp(count, kEngineDepth); j += 2) {
    for (int64_t at = 0; at < kLanes; at += kVector) {
      const auto load = [&](int64_t key) HWY_ATTR {
        const auto* from = weights + key * kLanes + at;
        return key < count ? hn::Add(hn::BitCast(bits, hn::Load(d, from)), half) : hn::Zero(bits);
      };
      const auto even = load(j), odd = load(j + 1);
      hn::Store(hn::Or(hn::ShiftRight<16>(even), hn::And(odd, upper)), bits,
                pairs + j / 2 * kLanes + at);
    }
  }
}

/// Some lanes of a unit: their rows as pairs, [features / 2, lanes], with zeros up to a multiple of
/// kEngineDepth features and beyond `lanes`.
template <int kVectors>
HWY_INLINE void LayOutPairs(const Job& job, const Unit& unit, const View& view, int64_t features,
                            int64_t first_lane, int64_t lanes, uint32_t* HWY_RESTRICT to) {
  constexpr auto kLanes = Lanes<kVectors>::kCount;
  std::fill_n(to, RoundedUp(features, kEngineDepth) / 2 * kLanes, 0U);
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const auto at = PlaceOf(job, unit, first_lane + lane);
    const auto* row = static_cast<const uint16_t*>(view.data) + at.batch * view.batch +
                      at.head * view.head + at.row * view.row;
    for (int64_t f = 0; f < features; ++f) {
      to[f / 2 * kLanes + lane] |= static_cast<uint32_t>(row[f * view.feature]) << (f % 2 * 16);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET

#endif  // include guard
