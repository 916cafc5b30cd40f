// The fused kernel: rows over sets of keys in one pass over blocks of keys. Compiled once for each
// instruction set by Highway.
//
// One lane of a vector is one row, so nothing is ever summed across lanes: a block of scores is
// S^T = K Q^T [keys, lanes], its softmax statistics are vertical, and out^T += V^T P^T. Keys and
// values are read as they lie, an element broadcast to all lanes; only the query block is laid out
// anew, [features, lanes]. The running maximum is Milakov & Gimelshein 2018, arXiv 1805.02867; out
// is rescaled only where it rises by more than kSlack (after Dao et al., FlashAttention-4).

#include "attention/fused_unit.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "attention/fused_unit.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first
#include <hwy/aligned_allocator.h>
#include <hwy/highway.h>

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using Int = hn::RebindToSigned<D>;
using V = hn::Vec<D>;

constexpr size_t kVector = HWY_MAX_BYTES / sizeof(float);
constexpr size_t kLanes = 2 * kVector;  // of a tile: two vectors
#if HWY_TARGET <= HWY_AVX3
constexpr int kTogether = 12;  // keys, or features, whose sums are in registers: 24 of 32
#else
constexpr int kTogether = 6;  // 12 of 16
#endif
constexpr int64_t kBlockKeys = 120;
constexpr float kSlack = 8;  // in base 2: sums stay below 2^8 times their keys
constexpr float kLog2e = 1.44269504088896341F;
constexpr float kLn2 = 0.693147180559945309F;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// 2^x for x <= 127; below -126 it stays at 2^-126. The polynomial's relative error is 1.9e-7, and
/// 0 at x = 0 (fitted by minimax on [-0.5, 0.5]).
HWY_INLINE V Exp2(V x) {
  const D d;
  const Int di;
  const auto bounded = hn::Max(hn::Set(d, -126.0F), x);  // NaN stays NaN
  const auto magic = hn::Set(d, 12582912.0F);            // 1.5 * 2^23: adding it rounds
  const auto shifted = hn::Add(bounded, magic);
  const auto f = hn::Sub(bounded, hn::Sub(shifted, magic));
  auto p = hn::Set(d, 0.0013264727262192987F);
  p = hn::MulAdd(p, f, hn::Set(d, 0.00967151271037792F));
  p = hn::MulAdd(p, f, hn::Set(d, 0.0555073374374154F));
  p = hn::MulAdd(p, f, hn::Set(d, 0.24022242084294154F));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931469775985022F));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0F));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), hn::ShiftLeft<23>(hn::BitCast(di, shifted))));
}

/// 2^x, and exactly 0 at -inf.
HWY_INLINE V Exp2OrZero(V x) {
  const D d;
  return hn::IfThenZeroElse(hn::Eq(x, hn::Set(d, -kInfinity)), Exp2(x));
}

struct Pair {
  V a, b;
};

HWY_INLINE Pair LoadPair(const float* HWY_RESTRICT from) {
  const D d;
  return {hn::Load(d, from), hn::Load(d, from + kVector)};
}

HWY_INLINE void StorePair(Pair x, float* HWY_RESTRICT to) {
  const D d;
  hn::Store(x.a, d, to);
  hn::Store(x.b, d, to + kVector);
}

HWY_INLINE void AddPair(Pair x, float* HWY_RESTRICT to) {
  const auto before = LoadPair(to);
  StorePair({hn::Add(before.a, x.a), hn::Add(before.b, x.b)}, to);
}

/// scores[i][lanes] = sum_f keys[i][f] query[f][lanes], for kCount keys; `most` is their maximum.
template <int kCount>
HWY_INLINE void ScoreKeys(const float* HWY_RESTRICT keys, int64_t stride,
                          const float* HWY_RESTRICT query, int64_t features,
                          float* HWY_RESTRICT scores, Pair& most) {
  const D d;
  V a[kCount], b[kCount];
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) {
    a[i] = b[i] = hn::Zero(d);
  }
#pragma GCC unroll 1
  for (int64_t f = 0; f < features; ++f) {
    const auto q = LoadPair(query + f * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) {
      const auto key = hn::Set(d, keys[i * stride + f]);
      a[i] = hn::MulAdd(key, q.a, a[i]);
      b[i] = hn::MulAdd(key, q.b, b[i]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) {
    StorePair({a[i], b[i]}, scores + i * kLanes);
    most.a = hn::Max(most.a, a[i]);
    most.b = hn::Max(most.b, b[i]);
  }
}

template <int kCount>
HWY_INLINE void ScoreAll(const float* HWY_RESTRICT keys, int64_t stride, int64_t& first,
                         int64_t count, const float* HWY_RESTRICT query, int64_t features,
                         float* HWY_RESTRICT scores, Pair& most) {
  for (; first + kCount <= count; first += kCount) {
    ScoreKeys<kCount>(keys + first * stride, stride, query, features, scores + first * kLanes,
                      most);
  }
}

HWY_INLINE Pair Scores(const float* HWY_RESTRICT keys, int64_t stride, int64_t count,
                       const float* HWY_RESTRICT query, int64_t features,
                       float* HWY_RESTRICT scores) {
  const D d;
  Pair most{hn::Set(d, -kInfinity), hn::Set(d, -kInfinity)};
  int64_t first = 0;
  ScoreAll<kTogether>(keys, stride, first, count, query, features, scores, most);
  ScoreAll<4>(keys, stride, first, count, query, features, scores, most);
  ScoreAll<1>(keys, stride, first, count, query, features, scores, most);
  return most;
}

/// out[i][lanes] (+)= sum_j values[j][i] p[j][lanes], for kCount features.
template <int kCount>
HWY_INLINE void WeighFeatures(const float* HWY_RESTRICT values, int64_t stride, int64_t count,
                              const float* HWY_RESTRICT p, bool add, float* HWY_RESTRICT out) {
  const D d;
  V a[kCount], b[kCount];
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) {
    a[i] = add ? hn::Load(d, out + i * kLanes) : hn::Zero(d);
    b[i] = add ? hn::Load(d, out + i * kLanes + kVector) : hn::Zero(d);
  }
#pragma GCC unroll 1
  for (int64_t j = 0; j < count; ++j) {
    const auto weight = LoadPair(p + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kCount; ++i) {
      const auto value = hn::Set(d, values[j * stride + i]);
      a[i] = hn::MulAdd(value, weight.a, a[i]);
      b[i] = hn::MulAdd(value, weight.b, b[i]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kCount; ++i) {
    StorePair({a[i], b[i]}, out + i * kLanes);
  }
}

template <int kCount>
HWY_INLINE void WeighAll(const float* HWY_RESTRICT values, int64_t stride, int64_t count,
                         const float* HWY_RESTRICT p, bool add, int64_t& first, int64_t features,
                         float* HWY_RESTRICT out) {
  for (; first + kCount <= features; first += kCount) {
    WeighFeatures<kCount>(values + first, stride, count, p, add, out + first * kLanes);
  }
}

HWY_INLINE void Weigh(const float* HWY_RESTRICT values, int64_t stride, int64_t count,
                      const float* HWY_RESTRICT p, bool add, int64_t features,
                      float* HWY_RESTRICT out) {
  int64_t first = 0;
  WeighAll<kTogether>(values, stride, count, p, add, first, features, out);
  WeighAll<4>(values, stride, count, p, add, first, features, out);
  WeighAll<1>(values, stride, count, p, add, first, features, out);
}

/// Sums of some keys of a lane with c for a reference: sum 2^(s-c), sum 2^(s-c) (s-c), in base 2.
struct alignas(64) Sums {
  float reference[kLanes], weight[kLanes], moment[kLanes];
};

/// Some lanes of a unit, what they see of the current span, and what they have seen so far.
struct alignas(64) Tile {
  float* query;          // [features, lanes], times scale and log2(e)
  float* out;            // [value features, lanes], of the sets before
  float* set_out;        // of the current set
  float* top;            // [top, lanes], of the current set
  int64_t lanes;         // that are in use
  bool any;              // whether a set before was seen
  bool set_any;          // whether a key of the current set was
  int64_t fewest, most;  // keys of the current span that its lanes see
  Sums row, set;
  alignas(64) float seen[kLanes];       // keys of the current span that a lane sees
  alignas(64) float shift[kLanes];      // log weight in the current set, base 2
  alignas(64) float threshold[kLanes];  // on scores, base 2
};

/// Hides what lanes do not see of a block that begins at `first`; gives the largest score left.
HWY_INLINE Pair Hide(const Tile& tile, bool threshold, int64_t first, int64_t count,
                     float* HWY_RESTRICT scores) {
  const D d;
  const auto none = hn::Set(d, -kInfinity);
  const auto seen = LoadPair(tile.seen);
  const auto least = LoadPair(tile.threshold);
  Pair most{none, none};
  for (int64_t j = 0; j < count; ++j) {
    const auto key = hn::Set(d, static_cast<float>(first + j));
    auto s = LoadPair(scores + j * kLanes);
    s.a = hn::IfThenElse(hn::Lt(key, seen.a), s.a, none);
    s.b = hn::IfThenElse(hn::Lt(key, seen.b), s.b, none);
    if (threshold) {
      s.a = hn::IfThenElse(hn::Lt(s.a, least.a), none, s.a);
      s.b = hn::IfThenElse(hn::Lt(s.b, least.b), none, s.b);
    }
    StorePair(s, scores + j * kLanes);
    most.a = hn::Max(most.a, s.a);
    most.b = hn::Max(most.b, s.b);
  }
  return most;
}

/// Keeps the `count` largest scores of each lane, falling.
HWY_INLINE void KeepLargest(const float* HWY_RESTRICT scores, int64_t keys, int64_t count,
                            float* HWY_RESTRICT top) {
  const D d;
  for (int64_t j = 0; j < keys; ++j) {
    for (size_t half = 0; half < kLanes; half += kVector) {
      auto x = hn::Load(d, scores + j * kLanes + half);
      const auto least = hn::Load(d, top + (count - 1) * kLanes + half);
      if (hn::AllFalse(d, hn::Gt(x, least))) {
        continue;
      }
      for (int64_t r = 0; r < count; ++r) {
        const auto kept = hn::Load(d, top + r * kLanes + half);
        hn::Store(hn::Max(kept, x), d, top + r * kLanes + half);
        x = hn::Min(kept, x);
      }
    }
  }
}

/// Raises the reference of the lanes whose largest score is far above it, and rescales their sums.
HWY_INLINE void Raise(Tile& tile, Pair most, int64_t value_features) {
  const D d;
  for (size_t half = 0; half < kLanes; half += kVector) {
    const auto found = half == 0 ? most.a : most.b;
    const auto old = hn::Load(d, tile.set.reference + half);
    const auto higher = hn::Gt(found, hn::Add(old, hn::Set(d, kSlack)));
    if (hn::AllFalse(d, higher)) {
      continue;
    }
    hn::Store(hn::IfThenElse(higher, found, old), d, tile.set.reference + half);
    const auto fresh = hn::Eq(old, hn::Set(d, -kInfinity));
    const auto change = hn::IfThenElseZero(higher, hn::IfThenZeroElse(fresh, hn::Sub(old, found)));
    const auto factor = Exp2(change);
    const auto weight = hn::Load(d, tile.set.weight + half);
    const auto moment = hn::Load(d, tile.set.moment + half);
    hn::Store(hn::Mul(weight, factor), d, tile.set.weight + half);
    hn::Store(hn::Mul(hn::MulAdd(weight, change, moment), factor), d, tile.set.moment + half);
    if (tile.set_any) {
      for (int64_t f = 0; f < value_features; ++f) {
        float* out = tile.set_out + f * kLanes + half;
        hn::Store(hn::Mul(hn::Load(d, out), factor), d, out);
      }
    }
  }
}

/// scores := 2^(scores - reference), added to the lanes' sums; 0 for what is hidden.
template <bool kHidden>
HWY_INLINE void Weights(Tile& tile, int64_t count, float* HWY_RESTRICT scores) {
  const D d;
  const auto none = hn::Set(d, -kInfinity);
  auto reference = LoadPair(tile.set.reference);
  if (kHidden) {  // a lane that has seen nothing yet
    reference.a = hn::IfThenZeroElse(hn::Eq(reference.a, none), reference.a);
    reference.b = hn::IfThenZeroElse(hn::Eq(reference.b, none), reference.b);
  }
  Pair weight{hn::Zero(d), hn::Zero(d)}, moment = weight;  // of the block: short sums round less
  for (int64_t j = 0; j < count; ++j) {
    const auto s = LoadPair(scores + j * kLanes);
    const Pair x{hn::Sub(s.a, reference.a), hn::Sub(s.b, reference.b)};
    Pair e{Exp2(x.a), Exp2(x.b)};
    if (kHidden) {
      const auto hidden_a = hn::Eq(s.a, none), hidden_b = hn::Eq(s.b, none);
      e.a = hn::IfThenZeroElse(hidden_a, e.a);
      e.b = hn::IfThenZeroElse(hidden_b, e.b);
      moment.a = hn::MulAdd(e.a, hn::IfThenZeroElse(hidden_a, x.a), moment.a);
      moment.b = hn::MulAdd(e.b, hn::IfThenZeroElse(hidden_b, x.b), moment.b);
    } else {
      moment.a = hn::MulAdd(e.a, x.a, moment.a);
      moment.b = hn::MulAdd(e.b, x.b, moment.b);
    }
    weight.a = hn::Add(weight.a, e.a);
    weight.b = hn::Add(weight.b, e.b);
    StorePair(e, scores + j * kLanes);
  }
  AddPair(weight, tile.set.weight);
  AddPair(moment, tile.set.moment);
}

/// Memory of one thread, kept between calls.
class Scratch {
 public:
  float* take(int64_t floats) {
    const auto first = used_;
    used_ += (floats + 15) / 16 * 16;
    return memory_.get() + first;
  }
  void reset(int64_t floats) {
    if (floats > size_) {
      memory_ = hwy::AllocateAligned<float>(floats);
      size_ = floats;
    }
    used_ = 0;
  }

 private:
  hwy::AlignedFreeUniquePtr<float[]> memory_;
  int64_t size_ = 0, used_ = 0;
};

HWY_INLINE float Widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &wide, sizeof x);
  return x;
}

HWY_INLINE uint16_t Narrow(float x) {  // to the nearest bfloat16, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof x);
  if (x != x) {
    return 0x7fc0;
  }
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

/// `count` rows of a matrix as fp32, [count, features] without gaps.
HWY_INLINE void WidenRows(const void* data, int64_t stride, int64_t count, int64_t features,
                          float* HWY_RESTRICT to) {
  const auto* from = static_cast<const uint16_t*>(data);
  for (int64_t j = 0; j < count; ++j) {
    for (int64_t f = 0; f < features; ++f) {
      to[j * features + f] = Widen(from[j * stride + f]);
    }
  }
}

class UnitRun {
 public:
  UnitRun(const Job& job, const Unit& unit, Scratch& scratch)
      : job_(job),
        unit_(unit),
        pairs_(unit.batches * unit.heads),
        lanes_(unit.rows * pairs_),
        tiles_((lanes_ + kLanes - 1) / kLanes) {
    const bool wide = job.element != Element::kFloat32;
    const auto tile_floats =
        (job.features + 2 * job.value_features + job.top) * static_cast<int64_t>(kLanes);
    const auto wide_floats = wide ? kBlockKeys * (job.features + job.value_features) : 0;
    constexpr int64_t kPadding = 16 * 64;
    scratch.reset(tiles_ * tile_floats + kBlockKeys * kLanes + wide_floats + kPadding);
    scores_ = scratch.take(kBlockKeys * kLanes);
    if (wide) {
      wide_keys_ = scratch.take(kBlockKeys * job.features);
      wide_values_ = scratch.take(kBlockKeys * job.value_features);
    }
    for (int64_t t = 0; t < tiles_; ++t) {
      auto& tile = tile_[t];
      tile.query = scratch.take(job.features * kLanes);
      tile.out = scratch.take(job.value_features * kLanes);
      tile.set_out = scratch.take(job.value_features * kLanes);
      tile.top = scratch.take(job.top * kLanes);
      tile.lanes = std::min<int64_t>(kLanes, lanes_ - t * kLanes);
      tile.any = false;
      clear(tile.row);
      for (int64_t lane = 0; lane < tile.lanes; ++lane) {
        const auto at = place(t, lane);
        tile.threshold[lane] = job.threshold != nullptr ? job.threshold[at.index] * kLog2e : 0;
      }
    }
  }

  void run() {
    double factor = 0;
    for (std::size_t i = 0; i < unit_.spans.size(); ++i) {
      const auto& span = unit_.spans[i];
      if (span.factor != factor) {
        factor = span.factor;
        lay_out_query(factor);
      }
      const bool first_of_set = i == 0 || unit_.spans[i - 1].set != span.set;
      const bool last_of_set = i + 1 == unit_.spans.size() || unit_.spans[i + 1].set != span.set;
      if (first_of_set) {
        begin_set(span.set);
      }
      see(span);
      if (last_of_set) {
        end_set(span.set);
      }
    }
    finish();
  }

 private:
  /// Which row of the whole a lane is.
  struct Place {
    int64_t batch, head, row;
    int64_t index;  // of [batch, heads, rows]
  };

  Place place(int64_t tile, int64_t lane) const {
    const auto i = tile * static_cast<int64_t>(kLanes) + lane;
    const auto pair = i % pairs_;
    const auto batch = unit_.first_batch + pair / unit_.heads;
    const auto head = unit_.first_head + pair % unit_.heads;
    const auto row = unit_.first_row + i / pairs_;
    return {batch, head, row, (batch * job_.heads + head) * job_.rows + row};
  }

  static void clear(Sums& sums) {
    std::fill_n(sums.reference, kLanes, -kInfinity);
    std::fill_n(sums.weight, kLanes, 0.0F);
    std::fill_n(sums.moment, kLanes, 0.0F);
  }

  void lay_out_query(double factor) {
    const auto scale = static_cast<float>(job_.scale * factor * 1.4426950408889634);
    const auto& view = job_.query;
    for (int64_t t = 0; t < tiles_; ++t) {
      auto& tile = tile_[t];
      for (int64_t lane = 0; lane < static_cast<int64_t>(kLanes); ++lane) {
        if (lane >= tile.lanes) {
          for (int64_t f = 0; f < job_.features; ++f) {
            tile.query[f * kLanes + lane] = 0;
          }
          continue;
        }
        const auto at = place(t, lane);
        const auto first = at.batch * view.batch + at.head * view.head + at.row * view.row;
        if (job_.element == Element::kFloat32) {
          const auto* from = static_cast<const float*>(view.data) + first;
          for (int64_t f = 0; f < job_.features; ++f) {
            tile.query[f * kLanes + lane] = from[f * view.feature] * scale;
          }
        } else {
          const auto* from = static_cast<const uint16_t*>(view.data) + first;
          for (int64_t f = 0; f < job_.features; ++f) {
            tile.query[f * kLanes + lane] = Widen(from[f * view.feature]) * scale;
          }
        }
      }
    }
  }

  void begin_set(int64_t set) {
    for (int64_t t = 0; t < tiles_; ++t) {
      auto& tile = tile_[t];
      tile.set_any = false;
      clear(tile.set);
      std::fill_n(tile.top, job_.top * kLanes, -kInfinity);
      for (int64_t lane = 0; lane < static_cast<int64_t>(kLanes); ++lane) {
        tile.shift[lane] = 0;
        if (job_.log_weight != nullptr && lane < tile.lanes) {
          tile.shift[lane] = job_.log_weight[place(t, lane).index * job_.sets + set] * kLog2e;
        }
      }
    }
  }

  /// How many keys of the span each lane sees; none where its row drops the set.
  void look(const UnitSpan& span, Tile& tile, int64_t t) const {
    tile.fewest = std::numeric_limits<int64_t>::max();
    tile.most = 0;
    for (int64_t lane = 0; lane < static_cast<int64_t>(kLanes); ++lane) {
      int64_t seen = 0;
      if (lane < tile.lanes) {
        const auto row = (t * static_cast<int64_t>(kLanes) + lane) / pairs_;
        seen = span.seen_by_first + row * span.more_each_row;
        if (tile.shift[lane] == -kInfinity) {
          seen = 0;
        }
        tile.fewest = std::min(tile.fewest, seen);
        tile.most = std::max(tile.most, seen);
      }
      tile.seen[lane] = static_cast<float>(seen);
    }
  }

  void see(const UnitSpan& span) {
    int64_t most = 0;
    for (int64_t t = 0; t < tiles_; ++t) {
      look(span, tile_[t], t);
      most = std::max(most, tile_[t].most);
    }
    for (int64_t first = 0; first < most; first += kBlockKeys) {
      const auto block = std::min(kBlockKeys, most - first);
      const float *keys, *values;
      auto key_stride = span.key_stride, value_stride = span.value_stride;
      if (job_.element == Element::kFloat32) {
        keys = static_cast<const float*>(span.keys) + first * key_stride;
        values = static_cast<const float*>(span.values) + first * value_stride;
      } else {
        WidenRows(static_cast<const uint16_t*>(span.keys) + first * key_stride, key_stride, block,
                  job_.features, wide_keys_);
        keys = wide_keys_;
        key_stride = job_.features;
        if (job_.value_features > 0) {
          WidenRows(static_cast<const uint16_t*>(span.values) + first * value_stride, value_stride,
                    block, job_.value_features, wide_values_);
        }
        values = wide_values_;
        value_stride = job_.value_features;
      }
      for (int64_t t = 0; t < tiles_; ++t) {
        auto& tile = tile_[t];
        const auto count = std::min(block, tile.most - first);
        if (count <= 0) {
          continue;
        }
        auto highest = Scores(keys, key_stride, count, tile.query, job_.features, scores_);
        const bool hidden = tile.fewest < first + count || job_.threshold != nullptr;
        if (hidden) {
          highest = Hide(tile, job_.threshold != nullptr, first, count, scores_);
        }
        if (job_.top > 0) {
          KeepLargest(scores_, count, job_.top, tile.top);
        }
        Raise(tile, highest, job_.value_features);
        if (hidden) {
          Weights<true>(tile, count, scores_);
        } else {
          Weights<false>(tile, count, scores_);
        }
        if (job_.value_features > 0) {
          Weigh(values, value_stride, count, scores_, tile.set_any, job_.value_features,
                tile.set_out);
        }
        tile.set_any = true;
      }
    }
  }

  void end_set(int64_t set) {
    for (int64_t t = 0; t < tiles_; ++t) {
      auto& tile = tile_[t];
      if (!tile.set_any) {
        continue;  // results begin as those of empty sets
      }
      for (int64_t lane = 0; lane < tile.lanes; ++lane) {
        const auto index = place(t, lane).index * job_.sets + set;
        const auto weight = tile.set.weight[lane];
        if (weight == 0) {
          continue;
        }
        const auto log2_weight = std::log2(weight);
        if (job_.set_lse != nullptr) {
          job_.set_lse[index] = (tile.set.reference[lane] + tile.shift[lane] + log2_weight) * kLn2;
        }
        if (job_.set_entropy != nullptr) {
          job_.set_entropy[index] =
              std::max(0.0F, (log2_weight - tile.set.moment[lane] / weight) * kLn2);
        }
        for (int64_t r = 0; r < job_.top; ++r) {
          job_.set_top[index * job_.top + r] = tile.top[r * kLanes + lane] * kLn2;
        }
      }
      merge(tile);
    }
  }

  /// The row so far := it and the current set (DESIGN section 3, merge).
  void merge(Tile& tile) const {
    const D d;
    const auto none = hn::Set(d, -kInfinity);
    if (!tile.any) {
      std::swap(tile.out, tile.set_out);
      tile.row = tile.set;
      for (size_t half = 0; half < kLanes; half += kVector) {
        hn::Store(hn::Add(hn::Load(d, tile.set.reference + half), hn::Load(d, tile.shift + half)),
                  d, tile.row.reference + half);
      }
      tile.any = true;
      return;
    }
    for (size_t half = 0; half < kLanes; half += kVector) {
      const auto weight = hn::Load(d, tile.row.weight + half);
      const auto set_weight = hn::Load(d, tile.set.weight + half);
      const auto there = hn::Ne(weight, hn::Zero(d)), set_there = hn::Ne(set_weight, hn::Zero(d));
      const auto old = hn::IfThenElse(there, hn::Load(d, tile.row.reference + half), none);
      const auto other = hn::IfThenElse(
          set_there,
          hn::Add(hn::Load(d, tile.set.reference + half), hn::Load(d, tile.shift + half)), none);
      const auto reference = hn::Max(old, other);
      const auto change = hn::IfThenElseZero(there, hn::Sub(old, reference));
      const auto set_change = hn::IfThenElseZero(set_there, hn::Sub(other, reference));
      const auto factor = hn::IfThenElseZero(there, Exp2OrZero(change));
      const auto set_factor = hn::IfThenElseZero(set_there, Exp2OrZero(set_change));
      const auto moment = hn::MulAdd(weight, change, hn::Load(d, tile.row.moment + half));
      const auto set_moment =
          hn::MulAdd(set_weight, set_change, hn::Load(d, tile.set.moment + half));
      hn::Store(reference, d, tile.row.reference + half);
      hn::Store(hn::MulAdd(set_weight, set_factor, hn::Mul(weight, factor)), d,
                tile.row.weight + half);
      hn::Store(hn::MulAdd(set_moment, set_factor, hn::Mul(moment, factor)), d,
                tile.row.moment + half);
      for (int64_t f = 0; f < job_.value_features; ++f) {
        float* out = tile.out + f * kLanes + half;
        const auto before = hn::IfThenElseZero(there, hn::Mul(hn::Load(d, out), factor));
        const auto added = hn::IfThenElseZero(  // where a lane drops the set, its values may be NaN
            set_there, hn::Mul(hn::Load(d, tile.set_out + f * kLanes + half), set_factor));
        hn::Store(hn::Add(before, added), d, out);
      }
    }
  }

  void finish() {
    for (int64_t t = 0; t < tiles_; ++t) {
      auto& tile = tile_[t];
      for (int64_t lane = 0; lane < tile.lanes; ++lane) {
        const auto at = place(t, lane);
        const auto weight = tile.row.weight[lane];
        const bool empty = !tile.any || weight == 0;
        if (!empty) {
          const auto log2_weight = std::log2(weight);
          job_.lse[at.index] = (tile.row.reference[lane] + log2_weight) * kLn2;
          if (job_.entropy != nullptr) {
            job_.entropy[at.index] =
                std::max(0.0F, (log2_weight - tile.row.moment[lane] / weight) * kLn2);
          }
        }
        if (job_.value_features > 0) {
          write_out(tile, lane, at, empty ? 0 : 1 / weight, empty);
        }
      }
    }
  }

  void write_out(const Tile& tile, int64_t lane, const Place& at, float factor, bool empty) const {
    const auto first = at.batch * job_.out_batch + at.head * job_.out_head + at.row * job_.out_row;
    const auto* from = tile.out + lane;
    if (job_.element == Element::kFloat32) {
      auto* to = static_cast<float*>(job_.out) + first;
      for (int64_t f = 0; f < job_.value_features; ++f) {
        to[f] = empty ? 0 : from[f * kLanes] * factor;
      }
    } else {
      auto* to = static_cast<uint16_t*>(job_.out) + first;
      for (int64_t f = 0; f < job_.value_features; ++f) {
        to[f] = empty ? 0 : Narrow(from[f * kLanes] * factor);
      }
    }
  }

  const Job& job_;
  const Unit& unit_;
  int64_t pairs_, lanes_, tiles_;
  float* scores_ = nullptr;
  float* wide_keys_ = nullptr;
  float* wide_values_ = nullptr;
  Tile tile_[kUnitLanes / kLanes];
};

void Run(const Job& job, const Unit& unit) {
  thread_local Scratch scratch;
  UnitRun(job, unit, scratch).run();
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();

#endif

#if HWY_ONCE
namespace motet::fused {

const std::vector<Variant>& variants() {
  const auto has = [](int64_t target) { return (hwy::SupportedTargets() & target) != 0; };
  static const std::vector<Variant> kAll{{"avx512", has(HWY_AVX3), &N_AVX3::Run},
                                         {"avx2", has(HWY_AVX2), &N_AVX2::Run}};
  return kAll;
}

}  // namespace motet::fused
#endif
