// The k largest scores of each lane, over all the blocks of keys that it sees: a few, sorted, or
// many. Included once for each instruction set by Highway.

#if defined(MOTET_ATTENTION_LARGEST_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_LARGEST_INL_H_
#undef MOTET_ATTENTION_LARGEST_INL_H_
#else
#define MOTET_ATTENTION_LARGEST_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernel/fused/lanes-inl.h"
#include "kernel/fused/scratch.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// The kTop largest scores of each lane, falling, in registers. NaN is none of them: Max and Min
/// give the second number where one is NaN, so it falls off the end.
template <int kVectors, int kTop>
HWY_INLINE void KeepLargestOf(const float* HWY_RESTRICT scores, int64_t keys,
                              float* HWY_RESTRICT top) {
  const D d;
  constexpr auto kLanes = Lanes<kVectors>::kCount;
  constexpr int64_t kTogether = 4;
  for (int64_t half = 0; half < kLanes; half += kVector) {
    V kept[kTop];
#pragma GCC unroll 8
    for (int r = 0; r < kTop; ++r) {
      kept[r] = hn::Load(d, top + r * kLanes + half);
    }
    const auto insert = [&](V x) HWY_ATTR {
#pragma GCC unroll 8
      for (int r = 0; r < kTop; ++r) {
        const auto larger = hn::Max(x, kept[r]);
        x = hn::Min(kept[r], x);
        kept[r] = larger;
      }
    };
    const auto at = [&](int64_t j) HWY_ATTR { return hn::Load(d, scores + j * kLanes + half); };
    int64_t j = 0;
    for (; j + kTogether <= keys; j += kTogether) {
      const auto a = at(j), b = at(j + 1), c = at(j + 2), e = at(j + 3);
      const auto least = kept[kTop - 1];
      const auto most = hn::Max(a, hn::Max(b, hn::Max(c, hn::Max(e, least))));
      if (hn::AllFalse(d, hn::Gt(most, least))) {
        continue;
      }
      insert(a);
      insert(b);
      insert(c);
      insert(e);
    }
    for (; j < keys; ++j) {
      insert(at(j));
    }
#pragma GCC unroll 8
    for (int r = 0; r < kTop; ++r) {
      hn::Store(kept[r], d, top + r * kLanes + half);
    }
  }
}

template <int kVectors>
HWY_INLINE void KeepLargest(const float* HWY_RESTRICT scores, int64_t keys, int64_t count,
                            float* HWY_RESTRICT top) {
  if (count == 5) {  // PCE's
    return KeepLargestOf<kVectors, 5>(scores, keys, top);
  }
  const D d;
  constexpr auto kLanes = Lanes<kVectors>::kCount;
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t half = 0; half < kLanes; half += kVector) {
      auto x = hn::Load(d, scores + j * kLanes + half);
      for (int64_t r = 0; r < count; ++r) {
        const auto kept = hn::Load(d, top + r * kLanes + half);
        hn::Store(hn::Max(x, kept), d, top + r * kLanes + half);
        x = hn::Min(kept, x);
      }
    }
  }
}

/// Of each lane, every score above a floor is kept; how many are equal to the floor is counted, and
/// of those below only the largest is known. The floor is a score that the k-th largest cannot be
/// below. Now and then it rises to the k-th largest so far, which leaves fewer than k above it: so
/// memory stays near 2 k, and most scores cost a comparison.
template <int kVectors>
class Largest {
 public:
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;

  /// Begins with no score. `keys` is k of each lane, `most` the largest of them all; 0 where
  /// nothing is wanted of a lane.
  void begin(const int64_t* keys, int64_t most, Scratch& scratch) {
    kept_ = scratch.take(slots(most) * kLanes);
    std::fill_n(kept_, slots(most) * kLanes, -kInfinity);
    limit_ = limit(most);
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      keys_[lane] = static_cast<float>(keys[lane]);
      floor_[lane] = keys[lane] > 0 ? -kInfinity : kInfinity;  // nothing is above that
      count_[lane] = 0;
    }
    std::fill_n(at_floor_, kLanes, 0.0F);
    std::fill_n(below_, kLanes, -kInfinity);
  }

  /// A block of scores, [keys, lanes], to which `shift` is to be added. -inf is no score.
  void see(const float* HWY_RESTRICT scores, int64_t keys, const float* HWY_RESTRICT shift) {
    const D d;
    for (int64_t half = 0; half < kLanes; half += kVector) {
      const auto floor = hn::Load(d, floor_ + half), shifts = hn::Load(d, shift + half);
      auto at_floor = hn::Load(d, at_floor_ + half), below = hn::Load(d, below_ + half);
      for (int64_t j = 0; j < keys; ++j) {
        const auto x = hn::Add(hn::Load(d, scores + j * kLanes + half), shifts);
        below = hn::IfThenElse(hn::Lt(x, floor), hn::Max(below, x), below);
        at_floor = hn::Add(at_floor, hn::IfThenElseZero(hn::Eq(x, floor), hn::Set(d, 1.0F)));
        const auto above = hn::Gt(x, floor);
        if (!hn::AllFalse(d, above)) {
          alignas(64) float values[kVector];
          hn::Store(x, d, values);
          append(above, values, half);
        }
      }
      hn::Store(at_floor, d, at_floor_ + half);
      hn::Store(below, d, below_ + half);
      if (longest(half) > limit_) {
        raise(half);
      }
    }
  }

  /// Of each lane: the k-th largest score (`least`, that of T), the largest below it (-inf where
  /// all are in T), and sum 2^(s - reference) over T.
  void end(const float* HWY_RESTRICT reference, float* HWY_RESTRICT least,
           float* HWY_RESTRICT outside, float* HWY_RESTRICT weight) const {
    const D d;
    const auto none = hn::Set(d, -kInfinity);
    for (int64_t half = 0; half < kLanes; half += kVector) {
      const auto slots = longest(half);
      const auto floor = hn::Load(d, floor_ + half), at_floor = hn::Load(d, at_floor_ + half);
      const auto reached = enough(half);
      const auto kth = hn::IfThenElse(reached, select(half, slots), floor);
      // Those at the floor are in T unless there are k above it.
      const auto ref = hn::Load(d, reference + half);
      const auto there = hn::And(hn::Ne(at_floor, hn::Zero(d)), hn::Ne(floor, none));
      auto below = hn::Load(d, below_ + half);
      below = hn::Max(below, hn::IfThenElse(hn::And(reached, there), floor, none));
      auto sum = hn::IfThenElseZero(hn::AndNot(reached, there),
                                    hn::Mul(at_floor, Exp2(hn::Sub(floor, ref))));
      for (int64_t i = 0; i < slots; ++i) {
        const auto x = hn::Load(d, kept_ + i * kLanes + half);
        const auto inside = hn::And(hn::Ge(x, kth), hn::Ne(x, none));
        sum = hn::Add(sum, hn::IfThenElseZero(inside, Exp2(hn::Sub(x, ref))));
        below = hn::Max(below, hn::IfThenElse(inside, none, x));
      }
      hn::Store(kth, d, least + half);
      hn::Store(below, d, outside + half);
      hn::Store(sum, d, weight + half);
    }
  }

 private:
  using DI = hn::RebindToSigned<D>;
  using VI = hn::Vec<DI>;
  using Mask = hn::Mask<D>;

  static int64_t limit(int64_t most) { return most + std::max<int64_t>(most, 128); }
  static int64_t slots(int64_t most) { return limit(most) + kBlockKeys; }

  /// Order of the numbers as integers: an involution but for the type.
  static HWY_INLINE VI Ordered(VI bits) {
    const DI di;
    return hn::Xor(bits, hn::And(hn::ShiftRight<31>(bits), hn::Set(di, 0x7FFFFFFF)));
  }

  int64_t longest(int64_t half) const {
    return *std::max_element(count_ + half, count_ + half + kVector);
  }

  /// Lanes that keep k scores or more.
  Mask enough(int64_t half) const {
    const D d;
    alignas(64) float counts[kVector];
    for (int64_t i = 0; i < kVector; ++i) {
      counts[i] = static_cast<float>(count_[half + i]);
    }
    const auto keys = hn::Load(d, keys_ + half);
    return hn::And(hn::Gt(keys, hn::Zero(d)), hn::Ge(hn::Load(d, counts), keys));
  }

  HWY_INLINE void append(Mask above, const float* HWY_RESTRICT values, int64_t half) {
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(D(), above, bytes);
    uint32_t bits = 0;
    std::memcpy(&bits, bytes, sizeof(bits));
    for (; bits != 0; bits &= bits - 1) {
      const auto lane = __builtin_ctz(bits);
      kept_[count_[half + lane]++ * kLanes + half + lane] = values[lane];
    }
  }

  /// The k-th largest of what is kept, for lanes that keep as many: bisection over the numbers in
  /// their order, all lanes at once, until it has found k or comes down to one number.
  V select(int64_t half, int64_t slots) const {
    const D d;
    const DI di;
    const auto keys = hn::Load(d, keys_ + half);
    const auto open = enough(half);
    auto low = Ordered(hn::BitCast(di, hn::Set(d, -kInfinity)));
    auto high = Ordered(hn::BitCast(di, hn::Set(d, kInfinity)));
    auto found = hn::Zero(d);  // how many are at least `low`, where that has risen
    while (true) {
      const auto apart = hn::RebindMask(d, hn::Gt(high, hn::Add(low, hn::Set(di, 1))));
      const auto settled = hn::Or(hn::Eq(found, keys), hn::Not(apart));
      if (hn::AllFalse(d, hn::AndNot(settled, open))) {
        break;
      }
      // The mean of both, rounded down, without an overflow.
      const auto middle = hn::Add(hn::And(low, high), hn::ShiftRight<1>(hn::Xor(low, high)));
      const auto at_least = hn::BitCast(d, Ordered(middle));
      auto count = hn::Zero(d);
      for (int64_t i = 0; i < slots; ++i) {
        const auto x = hn::Load(d, kept_ + i * kLanes + half);
        count = hn::Add(count, hn::IfThenElseZero(hn::Ge(x, at_least), hn::Set(d, 1.0F)));
      }
      const auto many = hn::AndNot(settled, hn::Ge(count, keys));
      const auto few = hn::AndNot(settled, hn::Lt(count, keys));
      low = hn::IfThenElse(hn::RebindMask(di, many), middle, low);
      high = hn::IfThenElse(hn::RebindMask(di, few), middle, high);
      found = hn::IfThenElse(many, count, found);
    }
    const auto at_least = hn::BitCast(d, Ordered(low));
    auto least = hn::Set(d, kInfinity);
    for (int64_t i = 0; i < slots; ++i) {
      const auto x = hn::Load(d, kept_ + i * kLanes + half);
      least = hn::IfThenElse(hn::Ge(x, at_least), hn::Min(least, x), least);
    }
    return least;
  }

  /// The floor becomes the k-th largest so far, where a lane keeps as many.
  void raise(int64_t half) {
    const D d;
    const auto none = hn::Set(d, -kInfinity);
    const auto slots = longest(half);
    const auto reached = enough(half);
    const auto old = hn::Load(d, floor_ + half), at_old = hn::Load(d, at_floor_ + half);
    const auto floor = hn::IfThenElse(reached, select(half, slots), old);
    auto at_floor = hn::IfThenElse(reached, hn::Zero(d), at_old);
    auto below = hn::Load(d, below_ + half);
    const auto sunk = hn::And(reached, hn::Ne(at_old, hn::Zero(d)));
    below = hn::IfThenElse(sunk, hn::Max(below, old), below);
    std::fill_n(count_ + half, kVector, 0);
    for (int64_t i = 0; i < slots; ++i) {
      alignas(64) float values[kVector];
      const auto x = hn::Load(d, kept_ + i * kLanes + half);
      hn::Store(x, d, values);
      hn::Store(none, d, kept_ + i * kLanes + half);  // what stays goes no further than here
      below = hn::IfThenElse(hn::Lt(x, floor), hn::Max(below, x), below);
      const auto equal = hn::And(reached, hn::Eq(x, floor));
      at_floor = hn::Add(at_floor, hn::IfThenElseZero(equal, hn::Set(d, 1.0F)));
      append(hn::Gt(x, floor), values, half);
    }
    hn::Store(floor, d, floor_ + half);
    hn::Store(at_floor, d, at_floor_ + half);
    hn::Store(below, d, below_ + half);
  }

  float* kept_ = nullptr;  // [slots, lanes], -inf beyond a lane's count
  int64_t limit_ = 0;      // how many may be kept before the floor rises
  int64_t count_[kLanes];
  alignas(64) float keys_[kLanes], floor_[kLanes];
  alignas(64) float at_floor_[kLanes];  // how many scores are equal to the floor
  alignas(64) float below_[kLanes];     // the largest score below the floor
};

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
