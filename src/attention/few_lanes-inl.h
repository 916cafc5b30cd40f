// The products of attention for at most four lanes, as while generating. With so few rows most of a
// vector of lanes would idle: here vectors run along features, and the results are laid out as
// those of lanes-inl.h. Included once for each instruction set by Highway.

#if defined(MOTET_ATTENTION_FEW_LANES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_FEW_LANES_INL_H_
#undef MOTET_ATTENTION_FEW_LANES_INL_H_
#else
#define MOTET_ATTENTION_FEW_LANES_INL_H_
#endif

#include <hwy/cache_control.h>

#include "attention/lanes-inl.h"

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

constexpr int kFewLanes = 4;
constexpr int64_t kKeysTogether = 4;
constexpr int64_t kAhead = 8;  // keys: how far memory is asked for what comes

using Quad = hn::FixedTag<float, 4>;
using QuadV = hn::Vec<Quad>;

HWY_INLINE V LoadFeatures(const float* from) { return hn::LoadU(D(), from); }

HWY_INLINE V LoadFeatures(const uint16_t* from) {  // bf16: the upper half of an fp32 number
  const hn::Rebind<uint32_t, D> wide;
  const auto bits = hn::PromoteTo(wide, hn::LoadU(hn::Rebind<uint16_t, D>(), from));
  return hn::BitCast(D(), hn::ShiftLeft<16>(bits));
}

template <class DF, class VF = hn::Vec<DF>>
HWY_INLINE VF LowerPairs(DF d, VF a, VF b) {
  const hn::RepartitionToWide<DF> pairs;
  return hn::BitCast(d, hn::InterleaveLower(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
}

template <class DF, class VF = hn::Vec<DF>>
HWY_INLINE VF UpperPairs(DF d, VF a, VF b) {
  const hn::RepartitionToWide<DF> pairs;
  return hn::BitCast(d, hn::InterleaveUpper(pairs, hn::BitCast(pairs, a), hn::BitCast(pairs, b)));
}

/// The sums of four vectors, side by side.
HWY_INLINE QuadV SumsOf(const V (&x)[4]) {
  const D d;
  const auto ab = hn::Add(hn::InterleaveLower(d, x[0], x[1]), hn::InterleaveUpper(d, x[0], x[1]));
  const auto ce = hn::Add(hn::InterleaveLower(d, x[2], x[3]), hn::InterleaveUpper(d, x[2], x[3]));
  const auto sums = hn::Add(LowerPairs(d, ab, ce), UpperPairs(d, ab, ce));  // in each block of four
  const hn::Half<D> half;
  const auto halves = hn::Add(hn::LowerHalf(half, sums), hn::UpperHalf(half, sums));
#if HWY_TARGET == HWY_AVX3
  return hn::Add(hn::LowerHalf(Quad(), halves), hn::UpperHalf(Quad(), halves));
#else
  return halves;
#endif
}

/// out[j][lane] = sum_f keys[j][f] queries[lane][f] for `count` keys; returns each lane's largest.
/// `features` is a multiple of the vector's length; kVectors is 1.
template <int kUsed, class Element>
HWY_INLINE Lanes<1> MultiplyFewRows(const Element* HWY_RESTRICT keys, int64_t stride, int64_t count,
                                    const float* HWY_RESTRICT queries, int64_t features,
                                    float* HWY_RESTRICT out) {
  const D d;
  const Quad quad;
  auto most = hn::Set(quad, -kInfinity);
  for (int64_t j = 0; j < count; j += kKeysTogether) {
    const Element* key[kKeysTogether];
    for (int64_t k = 0; k < kKeysTogether; ++k) {
      key[k] = keys + std::min(j + k, count - 1) * stride;  // the last ones again
    }
    V sum[kFewLanes][kKeysTogether];
#pragma GCC unroll 4
    for (int lane = 0; lane < kFewLanes; ++lane) {
#pragma GCC unroll 4
      for (int k = 0; k < kKeysTogether; ++k) {
        sum[lane][k] = hn::Zero(d);
      }
    }
#pragma GCC unroll 1
    for (int64_t f = 0; f < features; f += kVector) {
      V query[kUsed];
#pragma GCC unroll 4
      for (int lane = 0; lane < kUsed; ++lane) {
        query[lane] = hn::LoadU(d, queries + lane * features + f);
      }
#pragma GCC unroll 4
      for (int k = 0; k < kKeysTogether; ++k) {
        const auto x = LoadFeatures(key[k] + f);
        hwy::Prefetch(key[k] + kAhead * stride + f);
#pragma GCC unroll 4
        for (int lane = 0; lane < kUsed; ++lane) {
          sum[lane][k] = hn::MulAdd(query[lane], x, sum[lane][k]);
        }
      }
    }
    QuadV of_lane[kFewLanes];  // [keys]
#pragma GCC unroll 4
    for (int lane = 0; lane < kFewLanes; ++lane) {
      of_lane[lane] = lane < kUsed ? SumsOf(sum[lane]) : hn::Zero(quad);
    }
    const auto a = hn::InterleaveLower(quad, of_lane[0], of_lane[1]);
    const auto b = hn::InterleaveUpper(quad, of_lane[0], of_lane[1]);
    const auto c = hn::InterleaveLower(quad, of_lane[2], of_lane[3]);
    const auto e = hn::InterleaveUpper(quad, of_lane[2], of_lane[3]);
    const QuadV of_key[kKeysTogether] = {LowerPairs(quad, a, c), UpperPairs(quad, a, c),
                                         LowerPairs(quad, b, e), UpperPairs(quad, b, e)};
#pragma GCC unroll 4
    for (int k = 0; k < kKeysTogether; ++k) {
      if (j + k < count) {
        most = hn::Max(most, of_key[k]);
        hn::Store(hn::Zero(d), d, out + (j + k) * kVector);
        hn::Store(of_key[k], quad, out + (j + k) * kVector);
      }
    }
  }
  alignas(64) float largest[kVector] = {};
  hn::Store(most, quad, largest);
  return LoadLanes<1>(largest);
}

/// out[f][lane] (+)= sum_j values[j][f] weights[j][lane] for kCount vectors of features.
template <int kUsed, int kCount, class Element>
HWY_INLINE void AddFewColumns(const Element* HWY_RESTRICT values, int64_t stride, int64_t count,
                              const float* HWY_RESTRICT weights, bool add,
                              float* HWY_RESTRICT out) {
  const D d;
  V sum[kUsed][kCount];
#pragma GCC unroll 4
  for (int lane = 0; lane < kUsed; ++lane) {
#pragma GCC unroll 12
    for (int v = 0; v < kCount; ++v) {
      sum[lane][v] = hn::Zero(d);
    }
  }
#pragma GCC unroll 1
  for (int64_t j = 0; j < count; ++j) {
    V weight[kUsed];
#pragma GCC unroll 4
    for (int lane = 0; lane < kUsed; ++lane) {
      weight[lane] = hn::Set(d, weights[j * kVector + lane]);
    }
#pragma GCC unroll 12
    for (int v = 0; v < kCount; ++v) {
      const auto x = LoadFeatures(values + j * stride + v * kVector);
      hwy::Prefetch(values + (j + kAhead) * stride + v * kVector);
#pragma GCC unroll 4
      for (int lane = 0; lane < kUsed; ++lane) {
        sum[lane][v] = hn::MulAdd(weight[lane], x, sum[lane][v]);
      }
    }
  }
#pragma GCC unroll 4
  for (int lane = 0; lane < kUsed; ++lane) {
#pragma GCC unroll 12
    for (int v = 0; v < kCount; ++v) {
      alignas(64) float sums[kVector];
      hn::Store(sum[lane][v], d, sums);
      for (int64_t i = 0; i < kVector; ++i) {
        auto& to = out[(v * kVector + i) * kVector + lane];
        to = add ? to + sums[i] : sums[i];
      }
    }
  }
}

/// The same for all of `features`.
template <int kUsed, class Element>
HWY_INLINE void MultiplyFewColumns(const Element* HWY_RESTRICT values, int64_t stride,
                                   int64_t count, const float* HWY_RESTRICT weights, bool add,
                                   int64_t features, float* HWY_RESTRICT out) {
  InSteps<12 / kUsed>(features / kVector, [&]<int kCount>(int64_t first) HWY_ATTR {
    AddFewColumns<kUsed, kCount>(values + first * kVector, stride, count, weights, add,
                                 out + first * kVector * kVector);
  });
}

/// Calls `step<lanes>()`.
template <class Step>
HWY_INLINE void WithFewLanes(int64_t lanes, const Step& step) {
  switch (lanes) {
    case 1:
      return step.template operator()<1>();
    case 2:
      return step.template operator()<2>();
    case 3:
      return step.template operator()<3>();
    default:
      return step.template operator()<4>();
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET

#endif  // include guard
