// Vectors whose lanes are rows, and the products that attention is made of. Included once for each
// instruction set by Highway.

#if defined(MOTET_ATTENTION_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_LANES_INL_H_
#undef MOTET_ATTENTION_LANES_INL_H_
#else
#define MOTET_ATTENTION_LANES_INL_H_
#endif

#include <hwy/cache_control.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <cstdint>
#include <limits>

#include "kernel/elements-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using elements::HWY_NAMESPACE::D;
using elements::HWY_NAMESPACE::kVector;
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

/// x, or -126 where it is below: 2^x adds nothing there, and x times it must not, however far down
/// it is. NaN stays NaN.
HWY_INLINE V BoundExponent(V x) { return hn::Max(hn::Set(D(), -126.0F), x); }

/// 2^x for -126 <= x <= 127. Relative error 1.9e-7, none at x = 0 (the polynomial is the minimax
/// fit of 2^x on [-0.5, 0.5] that is 1 at 0). NaN stays NaN, since the power of two, of which its
/// payload makes anything, multiplies it.
HWY_INLINE V BoundedExp2(V bounded) {
  const D d;
  const hn::RebindToSigned<D> di;
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

/// 2^x for x <= 127; below -126 it stays at 2^-126.
HWY_INLINE V Exp2(V x) { return BoundedExp2(BoundExponent(x)); }

/// log2 x; NaN stays NaN.
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

/// The number that is summed together where fewer than `most` are left. Four times two vectors
/// still hide the latency of an addition; one would wait for it.
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

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
