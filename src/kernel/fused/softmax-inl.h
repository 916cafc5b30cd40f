// The softmax of lanes over blocks of keys: weights, their sums, and the merge of two parts. The
// running maximum is Milakov & Gimelshein 2018, arXiv 1805.02867; sums are rescaled only where it
// rises by more than kSlack. Included once for each instruction set by Highway.

#if defined(MOTET_ATTENTION_SOFTMAX_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_SOFTMAX_INL_H_
#undef MOTET_ATTENTION_SOFTMAX_INL_H_
#else
#define MOTET_ATTENTION_SOFTMAX_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernel/fused/lanes-inl.h"
#include "kernel/fused/scratch.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

constexpr float kSlack = 8;       // in base 2: no weight exceeds 2^8
constexpr float kNoShare = -126;  // in base 2: what is so much smaller adds nothing

/// Sums over some keys of each lane, with a reference c: sum 2^(s-c), sum 2^(s-c) (s-c); base 2.
template <int kVectors>
struct alignas(64) Sums {
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;
  float reference[kLanes], weight[kLanes], moment[kLanes];

  void clear() {
    std::fill_n(reference, kLanes, -kInfinity);
    std::fill_n(weight, kLanes, 0.0F);
    std::fill_n(moment, kLanes, 0.0F);
  }
};

/// Sums of a set, or of several, and sum 2^(s-c) v.
template <int kVectors>
struct Part {
  Sums<kVectors> sums;
  float* out;  // [value features, lanes], or with rows that pad them
  bool any;    // whether a key was seen

  void begin(int64_t value_rows, Scratch& scratch) {
    out = scratch.take(value_rows * Lanes<kVectors>::kCount);
    clear();
  }
  void clear() {
    any = false;
    sums.clear();
  }
};

/// Raises the reference of lanes whose largest score is far above it, and rescales their sums.
template <int kVectors>
HWY_INLINE void Raise(Part<kVectors>& part, const Lanes<kVectors>& most, int64_t value_features) {
  const D d;
  constexpr auto kLanes = Lanes<kVectors>::kCount;
  auto& sums = part.sums;
  for (int v = 0; v < kVectors; ++v) {
    const auto at = v * kVector;
    const auto old = hn::Load(d, sums.reference + at);
    const auto higher = hn::Gt(most.v[v], hn::Add(old, hn::Set(d, kSlack)));
    if (hn::AllFalse(d, higher)) {
      continue;
    }
    hn::Store(hn::IfThenElse(higher, most.v[v], old), d, sums.reference + at);
    const auto fresh = hn::Eq(old, hn::Set(d, -kInfinity));
    const auto change = BoundExponent(
        hn::IfThenElseZero(higher, hn::IfThenZeroElse(fresh, hn::Sub(old, most.v[v]))));
    const auto factor = BoundedExp2(change);
    const auto weight = hn::Load(d, sums.weight + at);
    const auto moment = hn::Load(d, sums.moment + at);
    hn::Store(hn::Mul(weight, factor), d, sums.weight + at);
    hn::Store(hn::Mul(hn::MulAdd(weight, change, moment), factor), d, sums.moment + at);
    if (part.any) {
      for (int64_t f = 0; f < value_features; ++f) {
        auto* out = part.out + f * kLanes + at;
        hn::Store(hn::Mul(hn::Load(d, out), factor), d, out);
      }
    }
  }
}

/// Makes the weights of a block, 2^(score - reference), and adds them up: of the block alone, since
/// short sums round less. Where some are hidden, those of -inf have weight 0.
template <int kVectors, bool kHidden, bool kEntropy>
class Weigher {
 public:
  HWY_INLINE explicit Weigher(const Sums<kVectors>& sums)
      : reference_(LoadLanes<kVectors>(sums.reference)),
        weight_(Fill<kVectors>(0)),
        moment_(Fill<kVectors>(0)) {
    const auto none = hn::Set(D(), -kInfinity);
    for (int v = 0; v < kVectors; ++v) {  // a lane that has seen nothing yet, or no finite score
      const auto unseen = hn::Eq(reference_.v[v], none);
      reference_.v[v] = hn::IfThenZeroElse(unseen, reference_.v[v]);
    }
  }

  HWY_INLINE V reference(int v) const { return reference_.v[v]; }

  /// The weights of the v-th vector's scores; `x` is how far above the reference they are.
  HWY_INLINE V weigh(V x, int v) {
    const auto hidden = hn::Eq(x, hn::Set(D(), -kInfinity));
    x = BoundExponent(x);
    auto e = BoundedExp2(x);
    if (kHidden) {
      x = hn::IfThenZeroElse(hidden, x);
      e = hn::IfThenZeroElse(hidden, e);
    }
    weight_.v[v] = hn::Add(weight_.v[v], e);
    if (kEntropy) {
      moment_.v[v] = hn::MulAdd(e, x, moment_.v[v]);
    }
    return e;
  }

  HWY_INLINE void add_to(Sums<kVectors>& sums) const {
    const D d;
    for (int v = 0; v < kVectors; ++v) {
      const auto at = v * kVector;
      hn::Store(hn::Add(hn::Load(d, sums.weight + at), weight_.v[v]), d, sums.weight + at);
      hn::Store(hn::Add(hn::Load(d, sums.moment + at), moment_.v[v]), d, sums.moment + at);
    }
  }

 private:
  Lanes<kVectors> reference_, weight_, moment_;
};

/// scores := 2^(scores - reference), 0 for what is hidden; added to the sums.
template <int kVectors, bool kHidden, bool kEntropy>
HWY_INLINE void Weights(Sums<kVectors>& sums, int64_t count, float* HWY_RESTRICT scores) {
  Weigher<kVectors, kHidden, kEntropy> weigher(sums);
  for (int64_t j = 0; j < count; ++j) {
    auto s = LoadLanes<kVectors>(scores + j * sums.kLanes);
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      s.v[v] = weigher.weigh(hn::Sub(s.v[v], weigher.reference(v)), v);
    }
    StoreLanes(s, scores + j * sums.kLanes);
  }
  weigher.add_to(sums);
}

/// into := the row over the keys of both: the form of vectors (see attention/merging.h).
template <int kVectors>
HWY_INLINE void Merge(Part<kVectors>& into, Part<kVectors>& part, int64_t value_features) {
  const D d;
  constexpr auto kLanes = Lanes<kVectors>::kCount;
  if (!part.any) {
    return;
  }
  if (!into.any) {
    std::swap(into.out, part.out);
    into.sums = part.sums;
    into.any = true;
    return;
  }
  const auto none = hn::Set(d, -kInfinity);
  for (int64_t at = 0; at < kLanes; at += kVector) {
    const auto weight = hn::Load(d, into.sums.weight + at);
    const auto more = hn::Load(d, part.sums.weight + at);
    const auto there = hn::Ne(weight, hn::Zero(d)), more_there = hn::Ne(more, hn::Zero(d));
    const auto old = hn::IfThenElse(there, hn::Load(d, into.sums.reference + at), none);
    const auto other = hn::IfThenElse(more_there, hn::Load(d, part.sums.reference + at), none);
    const auto reference = hn::Max(old, other);
    const auto change = hn::IfThenElseZero(there, hn::Sub(old, reference));
    const auto more_change = hn::IfThenElseZero(more_there, hn::Sub(other, reference));
    const auto far = hn::Set(d, kNoShare);  // the smaller has no part in the sums then
    const auto counts = hn::AndNot(hn::Lt(change, far), there);
    const auto more_counts = hn::AndNot(hn::Lt(more_change, far), more_there);
    const auto factor = hn::IfThenElseZero(counts, Exp2(change));
    const auto more_factor = hn::IfThenElseZero(more_counts, Exp2(more_change));
    const auto moment =
        hn::IfThenElseZero(counts, hn::MulAdd(weight, change, hn::Load(d, into.sums.moment + at)));
    const auto more_moment = hn::IfThenElseZero(
        more_counts, hn::MulAdd(more, more_change, hn::Load(d, part.sums.moment + at)));
    hn::Store(reference, d, into.sums.reference + at);
    hn::Store(hn::MulAdd(more, more_factor, hn::Mul(weight, factor)), d, into.sums.weight + at);
    hn::Store(hn::MulAdd(more_moment, more_factor, hn::Mul(moment, factor)), d,
              into.sums.moment + at);
    for (int64_t f = 0; f < value_features; ++f) {
      auto* out = into.out + f * kLanes + at;
      const auto before = hn::IfThenElseZero(there, hn::Mul(hn::Load(d, out), factor));
      const auto added = hn::IfThenElseZero(  // where a lane drops the part, its out may be NaN
          more_there, hn::Mul(hn::Load(d, part.out + f * kLanes + at), more_factor));
      hn::Store(hn::Add(before, added), d, out);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
