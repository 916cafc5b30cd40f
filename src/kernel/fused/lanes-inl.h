// Vectors whose lanes are rows, and the products that attention is made of. Included once for each
// instruction set by Highway.

#if defined(MOTET_ATTENTION_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_LANES_INL_H_
#undef MOTET_ATTENTION_LANES_INL_H_
#else
#define MOTET_ATTENTION_LANES_INL_H_
#endif

#include <hwy/aligned_allocator.h>
#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>

#include "kernel/bfloat16.h"
#include "kernel/elements-inl.h"
#include "kernel/fused/unit.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using elements::HWY_NAMESPACE::D;
using elements::HWY_NAMESPACE::kVector;
using elements::HWY_NAMESPACE::LoadElements;
using elements::HWY_NAMESPACE::StoreElements;
using elements::HWY_NAMESPACE::V;

/// Sums that are kept in registers: 12 of 16, or 24 of 32.
constexpr int kSums = HWY_TARGET == HWY_AVX3 ? 24 : 12;
constexpr int64_t kBlockKeys = 120;  // a multiple of all that are summed together
constexpr int64_t kCacheLine = 16;   // floats
constexpr int64_t kAheadRows = 16;   // how far memory is asked for, going down columns
constexpr float kLog2e = 1.44269504088896341F;
constexpr float kLn2 = 0.693147180559945309F;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// One number for each of a tile's lanes: kVectors vectors.
template <int kVectors>
struct Lanes {
  static constexpr int64_t kCount = kVectors * kVector;
  V v[kVectors];
};

template <int kVectors>
HWY_INLINE Lanes<kVectors> Fill(float x) {
  const D d;
  Lanes<kVectors> lanes;
#pragma GCC unroll 2
  for (int i = 0; i < kVectors; ++i) {
    lanes.v[i] = hn::Set(d, x);
  }
  return lanes;
}

template <int kVectors>
HWY_INLINE Lanes<kVectors> LoadLanes(const float* HWY_RESTRICT from) {
  const D d;
  Lanes<kVectors> lanes;
#pragma GCC unroll 2
  for (int i = 0; i < kVectors; ++i) {
    lanes.v[i] = hn::Load(d, from + i * kVector);
  }
  return lanes;
}

template <int kVectors>
HWY_INLINE void StoreLanes(const Lanes<kVectors>& lanes, float* HWY_RESTRICT to) {
  const D d;
#pragma GCC unroll 2
  for (int i = 0; i < kVectors; ++i) {
    hn::Store(lanes.v[i], d, to + i * kVector);
  }
}

/// 2^x for x <= 127; below -126 it stays at 2^-126. Relative error 1.9e-7, none at x = 0 (the
/// polynomial is the minimax fit of 2^x on [-0.5, 0.5] that is 1 at 0). NaN stays NaN, since the
/// power of two, of which its payload makes anything, multiplies it.
HWY_INLINE V Exp2(V x) {
  const D d;
  const hn::RebindToSigned<D> di;
  const auto bounded = hn::Max(hn::Set(d, -126.0F), x);  // x where that is NaN
  // 1.5 * 2^23 and the bias of exponents: adding it rounds to an integer k, and its last nine bits
  // are the sign and exponent of 2^k.
  const auto magic = hn::Set(d, 12582912.0F + 127.0F);
  const auto shifted = hn::Add(bounded, magic);
  const auto f = hn::Sub(bounded, hn::Sub(shifted, magic));
  auto p = hn::Set(d, 0.0013264727262192987F);
  p = hn::MulAdd(p, f, hn::Set(d, 0.00967151271037792F));
  p = hn::MulAdd(p, f, hn::Set(d, 0.0555073374374154F));
  p = hn::MulAdd(p, f, hn::Set(d, 0.24022242084294154F));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931469775985022F));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0F));
  return hn::Mul(p, hn::BitCast(d, hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

/// NaN stays NaN.
HWY_INLINE V Log2(V x) { return hn::IfThenElse(hn::IsNaN(x), x, hn::Log2(D(), x)); }

/// sum[i][lanes] += sum_j a[i][j] b[j][lanes], for kCount i: the inner loop of every product.
/// Element a[i][j] lies at `a + i * row + j * column`; rows of b are `stride` apart. Memory is
/// asked for at `ahead + j * step`: what of a comes next.
template <int kVectors, int kCount>
HWY_INLINE void AddProducts(const float* HWY_RESTRICT a, int64_t row, int64_t column, int64_t count,
                            const float* HWY_RESTRICT b, int64_t stride, const float* ahead,
                            int64_t step, Lanes<kVectors> (&sum)[kCount]) {
  const D d;
#pragma GCC unroll 1
  for (int64_t j = 0; j < count; ++j) {
    const auto right = LoadLanes<kVectors>(b + j * stride);
    hwy::Prefetch(ahead + j * step);
#pragma GCC unroll 24
    for (int i = 0; i < kCount; ++i) {
      const auto left = hn::Set(d, a[i * row + j * column]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        sum[i].v[v] = hn::MulAdd(left, right.v[v], sum[i].v[v]);
      }
    }
  }
}

/// out[i][lanes] = sum_f a[i][f] b[f][lanes] for kCount rows of a; b without gaps.
template <int kVectors, int kCount>
HWY_INLINE void MultiplyRows(const float* HWY_RESTRICT a, int64_t stride,
                             const float* HWY_RESTRICT b, int64_t features, float* HWY_RESTRICT out,
                             Lanes<kVectors>& most) {
  Lanes<kVectors> sum[kCount];
#pragma GCC unroll 24
  for (int i = 0; i < kCount; ++i) {
    sum[i] = Fill<kVectors>(0);
  }
  AddProducts<kVectors, kCount>(a, stride, 1, features, b, Lanes<kVectors>::kCount,
                                a + kCount * stride, kCacheLine, sum);
#pragma GCC unroll 24
  for (int i = 0; i < kCount; ++i) {
    StoreLanes(sum[i], out + i * Lanes<kVectors>::kCount);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      most.v[v] = hn::Max(most.v[v], sum[i].v[v]);
    }
  }
}

/// How many are summed together where fewer than `most` are left. Four times two vectors still hide
/// the latency of an addition; one would wait for it.
constexpr int FewerThan(int most) { return most > 16 ? 12 : most > 4 ? 4 : most / 2; }

/// Calls `step<n>(first)` for n at a time, kMost or fewer, so that all of [first, count) is
/// covered.
template <int kMost, class Step>
HWY_INLINE void InSteps(int64_t count, const Step& step, int64_t first = 0) {
  for (; first + kMost <= count; first += kMost) {
    step.template operator()<kMost>(first);
  }
  if constexpr (kMost > 1) {
    InSteps<FewerThan(kMost)>(count, step, first);
  }
}

/// out[i][lanes] = sum_f a[i][f] b[f][lanes] for all of `count` rows; returns each lane's largest.
template <int kVectors>
HWY_INLINE Lanes<kVectors> Multiply(const float* HWY_RESTRICT a, int64_t stride, int64_t count,
                                    const float* HWY_RESTRICT b, int64_t features,
                                    float* HWY_RESTRICT out) {
  auto most = Fill<kVectors>(-kInfinity);
  InSteps<kSums / kVectors>(count, [&]<int kCount>(int64_t first) HWY_ATTR {
    MultiplyRows<kVectors, kCount>(a + first * stride, stride, b, features,
                                   out + first * Lanes<kVectors>::kCount, most);
  });
  return most;
}

/// out[i][lanes] (+)= sum_j a[j][i] b[j][lanes] for kCount columns of a; b without gaps.
template <int kVectors, int kCount>
HWY_INLINE void MultiplyColumns(const float* HWY_RESTRICT a, int64_t stride, int64_t count,
                                const float* HWY_RESTRICT b, bool add, float* HWY_RESTRICT out) {
  Lanes<kVectors> sum[kCount];
#pragma GCC unroll 24
  for (int i = 0; i < kCount; ++i) {
    sum[i] = add ? LoadLanes<kVectors>(out + i * Lanes<kVectors>::kCount) : Fill<kVectors>(0);
  }
  AddProducts<kVectors, kCount>(a, 1, stride, count, b, Lanes<kVectors>::kCount,
                                a + kAheadRows * stride + kCount - 1, stride, sum);
#pragma GCC unroll 24
  for (int i = 0; i < kCount; ++i) {
    StoreLanes(sum[i], out + i * Lanes<kVectors>::kCount);
  }
}

/// out[i][lanes] (+)= sum_j a[j][i] b[j][lanes] for all of `columns`.
template <int kVectors>
HWY_INLINE void MultiplyTransposed(const float* HWY_RESTRICT a, int64_t stride, int64_t count,
                                   const float* HWY_RESTRICT b, bool add, int64_t columns,
                                   float* HWY_RESTRICT out) {
  InSteps<kSums / kVectors>(columns, [&]<int kCount>(int64_t first) HWY_ATTR {
    MultiplyColumns<kVectors, kCount>(a + first, stride, count, b, add,
                                      out + first * Lanes<kVectors>::kCount);
  });
}

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

/// Each block of four by four, transposed.
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

/// Where the row of each of a vector's lanes lies.
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

/// Memory of one thread, kept between calls.
class Scratch {
 public:
  void reset(int64_t floats) {
    if (floats > size_) {
      size_ = 0;
      memory_ = hwy::AllocateAligned<float>(floats);
      if (memory_ == nullptr) {
        throw std::bad_alloc();
      }
      size_ = floats;
    }
    used_ = 0;
  }
  /// Room for some floats, at the begin of a cache line.
  float* take(int64_t floats) {
    const auto first = used_;
    used_ += padded(floats);
    return memory_.get() + first;
  }
  static constexpr int64_t padded(int64_t floats) { return (floats + 15) / 16 * 16; }

 private:
  hwy::AlignedFreeUniquePtr<float[]> memory_;
  int64_t size_ = 0, used_ = 0;
};

HWY_INLINE float ElementAt(const void* data, Element element, int64_t at) {
  return element == Element::kFloat32 ? static_cast<const float*>(data)[at]
                                      : widen(static_cast<const uint16_t*>(data)[at]);
}

HWY_INLINE void WidenRow(const uint16_t* HWY_RESTRICT from, int64_t features,
                         float* HWY_RESTRICT to) {
  int64_t f = 0;
  for (; f + kVector <= features; f += kVector) {
    StoreElements(LoadElements(from + f), to + f);
  }
  for (; f < features; ++f) {
    to[f] = widen(from[f]);
  }
}

HWY_INLINE void NarrowRow(const float* HWY_RESTRICT from, int64_t features,
                          uint16_t* HWY_RESTRICT to) {
  int64_t f = 0;
  for (; f + kVector <= features; f += kVector) {
    StoreElements(LoadElements(from + f), to + f);
  }
  for (; f < features; ++f) {
    to[f] = narrow(from[f]);
  }
}

/// Rows of a matrix in fp32.
struct Rows {
  const float* data;
  int64_t stride;
};

/// `count` rows from `first` on: where they lie, or widened into `room`.
HWY_INLINE Rows ReadRows(const void* data, Element element, int64_t stride, int64_t first,
                         int64_t count, int64_t features, float* HWY_RESTRICT room) {
  if (element == Element::kFloat32) {
    return {static_cast<const float*>(data) + first * stride, stride};
  }
  const auto* rows = static_cast<const uint16_t*>(data) + first * stride;
  for (int64_t j = 0; j < count; ++j) {
    WidenRow(rows + j * stride, features, room + j * features);
  }
  return {room, features};
}

/// Which row of the whole a lane of a unit is.
struct Place {
  int64_t batch, head, row;
  int64_t index;  // of [batch, heads, rows]
};

HWY_INLINE Place PlaceOf(const Job& job, const Unit& unit, int64_t lane) {
  const auto pairs = unit.batches * unit.heads;
  const auto pair = lane % pairs;
  const auto batch = unit.first_batch + pair / unit.heads;
  const auto head = unit.first_head + pair % unit.heads;
  const auto row = unit.first_row + lane / pairs;
  return {batch, head, row, (batch * job.heads + head) * job.rows + row};
}

/// A row of a tensor in fp32.
HWY_INLINE void CopyRow(const View& view, Element element, const Place& at, int64_t features,
                        float* HWY_RESTRICT to) {
  const auto first = at.batch * view.batch + at.head * view.head + at.row * view.row;
  if (view.feature != 1) {
    for (int64_t f = 0; f < features; ++f) {
      to[f] = ElementAt(view.data, element, first + f * view.feature);
    }
  } else if (element == Element::kFloat32) {
    std::copy_n(static_cast<const float*>(view.data) + first, features, to);
  } else {
    WidenRow(static_cast<const uint16_t*>(view.data) + first, features, to);
  }
}

/// Some rows of a tensor: [features, lanes], times `scale`; 0 beyond `lanes`. `room` is for kVector
/// rows.
template <int kVectors>
HWY_INLINE void LayOut(Element element, const View& view, int64_t features, const Place* places,
                       int64_t lanes, float scale, float* HWY_RESTRICT room,
                       float* HWY_RESTRICT to) {
  constexpr auto kCount = Lanes<kVectors>::kCount;
  for (int64_t first = 0; first < kCount; first += kVector) {
    for (int64_t lane = 0; lane < kVector; ++lane) {
      auto* row = room + lane * features;
      if (first + lane >= lanes) {
        std::fill_n(row, features, 0.0F);
        continue;
      }
      CopyRow(view, element, places[first + lane], features, row);
      for (int64_t f = 0; f < features; ++f) {
        row[f] *= scale;
      }
    }
    const auto whole = features / 4 * 4;
    ToLanes<kCount>([&](int64_t lane) HWY_ATTR { return room + lane * features; }, whole,
                    to + first);
    for (auto f = whole; f < features; ++f) {
      for (int64_t lane = 0; lane < kVector; ++lane) {
        to[f * kCount + first + lane] = room[lane * features + f];
      }
    }
  }
}

/// How many keys of a span a row of the unit sees.
HWY_INLINE int64_t KeysSeen(const UnitSpan& span, int64_t row) {
  return std::clamp<int64_t>(span.seen_by_first + row * span.more_each_row, 0, span.count);
}

/// Of `seen` keys of a span, those in a block of `count` that begins at `first`.
template <int64_t kLanes>
HWY_INLINE void SeenOfBlock(const int64_t (&seen)[kLanes], int64_t first, int64_t count,
                            float* HWY_RESTRICT here) {
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    here[lane] = static_cast<float>(std::clamp<int64_t>(seen[lane] - first, 0, count));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
