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

#include <algorithm>
#include <cstdint>

#include "kernel/fused/softmax-inl.h"
#include "kernel/fused/turning-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

constexpr int kFewLanes = 4;
constexpr int64_t kKeysTogether = 4;
// Keys: how far memory is asked for what comes, into the nearest cache and into the next one.
constexpr int64_t kAhead = 8, kFarAhead = 64;

using Quad = hn::FixedTag<float, 4>;
using QuadV = hn::Vec<Quad>;
using elements::HWY_NAMESPACE::LoadElements;
using elements::HWY_NAMESPACE::LoadPair;

/// Where feature f lies once pairs are loaded; those after the last whole pair stay where they are.
template <class Element>
HWY_INLINE int64_t PlaceInPair(int64_t f, int64_t features) {
  constexpr int64_t kPair = 2 * kVector;
  const auto first = f / kPair * kPair;
  const bool apart = sizeof(Element) == 2 && first + kPair <= features;
  return apart ? first + f % 2 * kVector + (f - first) / 2 : f;
}

/// Asks for the memory of the pairs that come.
template <class Element>
HWY_INLINE void PrefetchPair(const Element* from, int64_t stride) {
  constexpr int64_t kLine = 64 / sizeof(Element);
  for (int64_t i = 0; i < 2 * kVector; i += kLine) {
    hwy::Prefetch(from + kAhead * stride + i);
    __builtin_prefetch(from + kFarAhead * stride + i, /*write=*/0, /*locality=*/2);
  }
}

/// Asks for the first rows, which are read later.
template <class Element>
HWY_INLINE void PrefetchRows(const Element* rows, int64_t stride, int64_t count, int64_t features) {
  constexpr int64_t kLine = 64 / sizeof(Element);
  for (int64_t j = 0; j < std::min(count, kFarAhead); ++j) {
    for (int64_t f = 0; f < features; f += kLine) {
      __builtin_prefetch(rows + j * stride + f, /*write=*/0, /*locality=*/2);
    }
  }
}

/// The sums of four vectors, side by side in each block of four.
HWY_INLINE V BlockSums(const V (&x)[4]) {
  const D d;
  const auto ab = hn::Add(hn::InterleaveLower(d, x[0], x[1]), hn::InterleaveUpper(d, x[0], x[1]));
  const auto ce = hn::Add(hn::InterleaveLower(d, x[2], x[3]), hn::InterleaveUpper(d, x[2], x[3]));
  return hn::Add(LowerPairs(ab, ce), UpperPairs(ab, ce));
}

/// The sums of four times four vectors, [4, 4], from those of each block of them.
HWY_INLINE void StoreSums(const V (&of_key)[4], float* HWY_RESTRICT out, V& most) {
  const D d;
  const auto halves = [&](int a, int b) HWY_ATTR {
    return hn::Add(hn::ConcatLowerLower(d, of_key[b], of_key[a]),
                   hn::ConcatUpperUpper(d, of_key[b], of_key[a]));
  };
#if HWY_TARGET == HWY_AVX3
  const auto even = halves(0, 2), odd = halves(1, 3);  // two blocks for each
  const auto sums =
      hn::Add(hn::OddEvenBlocks(odd, even), hn::SwapAdjacentBlocks(hn::OddEvenBlocks(even, odd)));
  hn::Store(sums, d, out);
  most = hn::Max(most, sums);
#else
  const auto low = halves(0, 1), high = halves(2, 3);
  hn::Store(low, d, out);
  hn::Store(high, d, out + kVector);
  most = hn::Max(most, hn::Max(low, high));
#endif
}

/// One block of four, joined of all.
template <class Join>
HWY_INLINE QuadV JoinBlocks(V x, const Join& join) {
  const hn::Half<D> half;
  const auto halves = join(hn::LowerHalf(half, x), hn::UpperHalf(half, x));
#if HWY_TARGET == HWY_AVX3
  return join(hn::LowerHalf(Quad(), halves), hn::UpperHalf(Quad(), halves));
#else
  return halves;
#endif
}

/// out[j][lane] = sum_f keys[j][f] queries[lane][f] for `count` keys, [keys, kFewLanes], and some
/// more after them; returns each lane's largest. `features` is a multiple of the vector's length;
/// queries are laid out as PlaceInPair says.
template <int kUsed, class Element>
HWY_INLINE Lanes<1> MultiplyFewRows(const Element* HWY_RESTRICT keys, int64_t stride, int64_t count,
                                    const float* HWY_RESTRICT queries, int64_t features,
                                    float* HWY_RESTRICT out) {
  const D d;
  auto most = hn::Set(d, -kInfinity);
  for (int64_t j = 0; j < count; j += kKeysTogether) {
    const Element* key[kKeysTogether];
    for (int64_t k = 0; k < kKeysTogether; ++k) {
      key[k] = keys + std::min(j + k, count - 1) * stride;  // the last ones again
    }
    V sum[kKeysTogether][kFewLanes];
#pragma GCC unroll 4
    for (int k = 0; k < kKeysTogether; ++k) {
#pragma GCC unroll 4
      for (int lane = 0; lane < kFewLanes; ++lane) {
        sum[k][lane] = hn::Zero(d);
      }
    }
    const auto add = [&](int k, V x, int64_t f) HWY_ATTR {
#pragma GCC unroll 4
      for (int lane = 0; lane < kUsed; ++lane) {
        sum[k][lane] = hn::MulAdd(hn::LoadU(d, queries + lane * features + f), x, sum[k][lane]);
      }
    };
    int64_t f = 0;
#pragma GCC unroll 1
    for (; f + 2 * kVector <= features; f += 2 * kVector) {
#pragma GCC unroll 4
      for (int k = 0; k < kKeysTogether; ++k) {
        const auto x = LoadPair(key[k] + f);
        PrefetchPair(key[k] + f, stride);
        add(k, x.first, f);
        add(k, x.second, f + kVector);
      }
    }
    if (f < features) {
#pragma GCC unroll 4
      for (int k = 0; k < kKeysTogether; ++k) {
        add(k, LoadElements(key[k] + f), f);
      }
    }
    V of_key[kKeysTogether];
#pragma GCC unroll 4
    for (int k = 0; k < kKeysTogether; ++k) {
      of_key[k] = BlockSums(sum[k]);
    }
    StoreSums(of_key, out + j * kFewLanes, most);
  }
  alignas(64) float largest[kVector] = {};
  hn::Store(JoinBlocks(most, [](auto a, auto b) HWY_ATTR { return hn::Max(a, b); }), Quad(),
            largest);
  return LoadLanes<1>(largest);
}

/// Scores of `count` keys, [keys, kFewLanes], as [keys, kVector]; the other lanes are 0.
HWY_INLINE void SpreadFew(int64_t count, float* HWY_RESTRICT scores) {
  for (auto j = count - 1; j >= 0; --j) {
    const auto of_key = hn::LoadU(Quad(), scores + j * kFewLanes);
    hn::Store(hn::Zero(D()), D(), scores + j * kVector);
    hn::Store(of_key, Quad(), scores + j * kVector);
  }
}

/// scores := 2^(scores - reference), [keys, kFewLanes], where all of `count` keys are seen; added
/// to the sums.
template <bool kEntropy>
HWY_INLINE void FewWeights(Sums<1>& sums, int64_t count, float* HWY_RESTRICT scores) {
  const D d;
  const Quad quad;
  const auto known = hn::LoadDup128(d, sums.reference);
  const auto reference = hn::IfThenZeroElse(hn::Eq(known, hn::Set(d, -kInfinity)), known);
  auto weight = hn::Zero(d), moment = hn::Zero(d);
  const auto add = [&](V x, V e) HWY_ATTR {
    weight = hn::Add(weight, e);
    if (kEntropy) {
      moment = hn::MulAdd(e, x, moment);
    }
  };
  const auto all = count * kFewLanes;
  int64_t i = 0;
  for (; i + kVector <= all; i += kVector) {
    const auto x = BoundExponent(hn::Sub(hn::Load(d, scores + i), reference));
    const auto e = BoundedExp2(x);
    hn::Store(e, d, scores + i);
    add(x, e);
  }
  if (i < all) {
    const auto there = hn::FirstN(d, all - i);
    const auto x =
        BoundExponent(hn::IfThenElseZero(there, hn::Sub(hn::Load(d, scores + i), reference)));
    const auto e = hn::IfThenElseZero(there, BoundedExp2(x));
    hn::Store(e, d, scores + i);
    add(x, e);
  }
  const auto store = [&](V x, float* to) HWY_ATTR {
    const auto sum = JoinBlocks(x, [](auto a, auto b) HWY_ATTR { return hn::Add(a, b); });
    hn::Store(hn::Add(hn::Load(quad, to), sum), quad, to);
  };
  store(weight, sums.weight);
  store(moment, sums.moment);
}

/// out[f][lane] (+)= sum_j values[j][f] weights[j][lane] for kCount vectors of features; weights
/// are [keys, kStride].
template <int kUsed, int64_t kStride, int kCount, class Element>
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
      weight[lane] = hn::Set(d, weights[j * kStride + lane]);
    }
    const auto product = [&](int v, V x) HWY_ATTR {
#pragma GCC unroll 4
      for (int lane = 0; lane < kUsed; ++lane) {
        sum[lane][v] = hn::MulAdd(weight[lane], x, sum[lane][v]);
      }
    };
    const auto* row = values + j * stride;
#pragma GCC unroll 6
    for (int v = 0; v + 2 <= kCount; v += 2) {
      const auto x = LoadPair(row + v * kVector);
      PrefetchPair(row + v * kVector, stride);
      product(v, x.first);
      product(v + 1, x.second);
    }
    if constexpr (kCount % 2 == 1) {
      product(kCount - 1, LoadElements(row + (kCount - 1) * kVector));
    }
  }
#pragma GCC unroll 4
  for (int lane = 0; lane < kUsed; ++lane) {
    alignas(64) float sums[kCount * kVector];
#pragma GCC unroll 12
    for (int v = 0; v < kCount; ++v) {
      hn::Store(sum[lane][v], d, sums + v * kVector);
    }
    for (int64_t f = 0; f < kCount * kVector; ++f) {
      auto& to = out[f * kVector + lane];
      const auto x = sums[PlaceInPair<Element>(f, kCount * kVector)];
      to = add ? to + x : x;
    }
  }
}

/// out[f][lane] (+)= sum_j values[j][f] weights[j][lane] for all of `features`.
template <int kUsed, int64_t kStride, class Element>
HWY_INLINE void MultiplyFewColumns(const Element* HWY_RESTRICT values, int64_t stride,
                                   int64_t count, const float* HWY_RESTRICT weights, bool add,
                                   int64_t features, float* HWY_RESTRICT out) {
  InSteps<12 / kUsed>(features / kVector, [&]<int kCount>(int64_t first) HWY_ATTR {
    AddFewColumns<kUsed, kStride, kCount>(values + first * kVector, stride, count, weights, add,
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
#endif  // MOTET_IS_TARGET

#endif  // include guard
