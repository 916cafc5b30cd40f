// A block of keys in bf16 as a matrix engine takes it: rows of products, and pairs of rows; and
// what waits for it. Included once for each instruction set by Highway.

#if defined(MOTET_ATTENTION_ENGINE_BLOCKS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_ENGINE_BLOCKS_INL_H_
#undef MOTET_ATTENTION_ENGINE_BLOCKS_INL_H_
#else
#define MOTET_ATTENTION_ENGINE_BLOCKS_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "kernel/fused/lanes-inl.h"
#include "kernel/fused/matrix_engine.h"
#include "kernel/fused/softmax-inl.h"
#include "kernel/fused/turning-inl.h"
#include "kernel/fused/unit_rows-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

constexpr int64_t kEngineKeys = 128;  // of a block
constexpr int64_t kGroupKeys = 8;     // whose weights are made between two steps of the engine

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
        const auto row_of = [&](int64_t block) HWY_ATTR {
          const auto key = j + i + 8 * block;
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

/// Each lane's largest score.
template <int kVectors>
HWY_INLINE Lanes<kVectors> LargestScores(const float* HWY_RESTRICT scores, int64_t count) {
  auto most = Fill<kVectors>(-kInfinity);
  for (int64_t j = 0; j < count; ++j) {
    const auto s = LoadLanes<kVectors>(scores + j * Lanes<kVectors>::kCount);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      most.v[v] = hn::Max(most.v[v], s.v[v]);
    }
  }
  return most;
}

/// Weights of a block, 2^(scale scores - reference), 0 for what is hidden, added to the sums before
/// they are rounded to bf16: pairs of keys 2i and 2i + 1, [keys / 2, lanes], with zeros up to a
/// multiple of kEngineDepth keys. `between` is called before each kGroupKeys keys.
template <int kVectors, bool kHidden, bool kEntropy, class Between>
HWY_INLINE void PairWeights(Sums<kVectors>& sums, float scale, int64_t count,
                            const float* HWY_RESTRICT scores, const Between& between,
                            uint32_t* HWY_RESTRICT pairs) {
  const D d;
  const hn::RebindToUnsigned<D> bits;
  const auto factor = hn::Set(d, scale);
  Weigher<kVectors, kHidden, kEntropy> weigher(sums);
  const auto weigh = [&](int64_t j, int v) HWY_ATTR {
    const auto s = hn::Load(d, scores + j * sums.kLanes + v * kVector);
    const auto e = weigher.weigh(hn::MulSub(s, factor, weigher.reference(v)), v);
    return hn::Add(hn::BitCast(bits, e), hn::Set(bits, 0x8000U));  // to the nearest
  };
  const auto store = [&](int64_t j, int v, auto even, auto odd) HWY_ATTR {
    hn::Store(hn::OrAnd(hn::ShiftRight<16>(even), odd, hn::Set(bits, 0xffff0000U)), bits,
              pairs + j / 2 * sums.kLanes + v * kVector);
  };
  int64_t j = 0;
  for (; j + kGroupKeys <= count; j += kGroupKeys) {
    between();
#pragma GCC unroll 8
    for (int64_t i = j; i < j + kGroupKeys; i += 2) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        const auto even = weigh(i, v);
        store(i, v, even, weigh(i + 1, v));
      }
    }
  }
  for (; j < RoundedUp(count, kEngineDepth); j += 2) {
    for (int v = 0; v < kVectors; ++v) {
      const auto even = j < count ? weigh(j, v) : hn::Zero(bits);
      store(j, v, even, j + 1 < count ? weigh(j + 1, v) : hn::Zero(bits));
    }
  }
  weigher.add_to(sums);
}

/// Products that wait for the engine.
class EngineQueue {
 public:
  explicit EngineQueue(const MatrixEngine& engine) : engine_(engine) {}

  void add(const EngineProduct& product) {
    products_[end_++ % kMost] = product;
    steps_ += engine_.steps(product);
  }
  int64_t steps() const { return steps_; }

  /// So many steps, or all that are left: first those of the product that waits longest.
  void advance(int64_t steps) {
    steps = std::min(steps, steps_);
    steps_ -= steps;
    while (steps > 0) {
      auto& product = products_[begin_ % kMost];
      const auto some = std::min(steps, engine_.steps(product));
      engine_.advance(product, some);
      steps -= some;
      begin_ += engine_.steps(product) == 0 ? 1 : 0;
    }
  }
  void finish() { advance(steps_); }

 private:
  static constexpr int kMost = 2;
  const MatrixEngine& engine_;
  EngineProduct products_[kMost];
  int begin_ = 0, end_ = 0;
  int64_t steps_ = 0;
};

/// Rows of some lanes, or their negatives, as pairs of features: [depth / 2, lanes], with zeros
/// beyond `features` and `lanes`. `room` is for as many rows.
template <int kVectors>
HWY_INLINE void LayOutPairs(const View& view, int64_t features, const Place* places, int64_t lanes,
                            bool negative, uint16_t* HWY_RESTRICT room, uint32_t* HWY_RESTRICT to) {
  constexpr auto kLanes = Lanes<kVectors>::kCount;
  constexpr uint16_t kSign = 0x8000;
  const auto depth = RoundedUp(features, kEngineDepth);
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const auto& at = places[lane];
    const auto* from = static_cast<const uint16_t*>(view.data) + at.batch * view.batch +
                       at.head * view.head + at.row * view.row;
    auto* row = room + lane * depth;
    if (view.feature == 1) {
      std::copy_n(from, features, row);
    } else {
      for (int64_t f = 0; f < features; ++f) {
        row[f] = from[f * view.feature];
      }
    }
    for (int64_t f = 0; negative && f < features; ++f) {
      row[f] ^= kSign;
    }
    std::fill_n(row + features, depth - features, uint16_t{0});
  }
  std::fill_n(room + lanes * depth, (kLanes - lanes) * depth, uint16_t{0});
  for (int64_t half = 0; half < kLanes; half += kVector) {
    ToLanes<kLanes>(
        [&](int64_t lane)
            HWY_ATTR { return reinterpret_cast<const float*>(room + (half + lane) * depth); },
        depth / 2, reinterpret_cast<float*>(to) + half);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
