// A tile, some lanes of a unit, and its way from a block's scores to weights. Included once for
// each instruction set by Highway.

#if defined(MOTET_ATTENTION_TILE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_TILE_INL_H_
#undef MOTET_ATTENTION_TILE_INL_H_
#else
#define MOTET_ATTENTION_TILE_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernel/fused/largest-inl.h"
#include "kernel/fused/scratch.h"
#include "kernel/fused/softmax-inl.h"
#include "kernel/fused/unit.h"
#include "kernel/fused/unit_rows-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// Some lanes of a unit: what they have seen, and what they see of the current span.
template <int kVectors>
struct Tile {
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;
  static constexpr int64_t kMost = kVectors == 1 ? 1 : kMostUnitLanes / kLanes;  // of a unit

  int64_t lanes;  // that are in use
  Place place[kLanes];
  Part<kVectors> row, set;
  float* top;                           // [top, lanes], of the current set
  int64_t seen[kLanes];                 // keys of the current span that a lane sees
  int64_t fewest, most;                 // of them all
  alignas(64) float shift[kLanes];      // log weight of the current set, base 2
  alignas(64) float threshold[kLanes];  // on effective scores, base 2

  /// A unit's lanes from `first` on, which have seen nothing.
  void begin(const Job& job, const Unit& unit, int64_t first, int64_t value_rows,
             Scratch& scratch) {
    lanes = std::min(kLanes, LanesOf(unit) - first);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      const auto at = place[lane] = PlaceOf(job, unit, first + lane);
      threshold[lane] = job.threshold != nullptr ? job.threshold[at.index] * kLog2e : 0;
    }
    top = scratch.take(job.top * kLanes);
    row.begin(value_rows, scratch);
    set.begin(value_rows, scratch);
  }

  void begin_set(const Job& job, int64_t index) {
    set.clear();
    std::fill_n(top, job.top * kLanes, -kInfinity);
    std::fill_n(shift, kLanes, 0.0F);
    for (int64_t lane = 0; job.log_weight != nullptr && lane < lanes; ++lane) {
      shift[lane] = job.log_weight[place[lane].index * job.sets + index] * kLog2e;
    }
  }

  /// Finds how many keys of the span each lane sees: none where its row drops the set.
  void begin_span(const UnitSpan& span, int64_t first_row) {
    fewest = std::numeric_limits<int64_t>::max();
    most = 0;
    std::fill_n(seen, kLanes, int64_t{0});
    for (int64_t lane = 0; lane < lanes; ++lane) {
      if (shift[lane] != -kInfinity) {
        seen[lane] = KeysSeen(span, place[lane].row - first_row);
      }
      fewest = std::min(fewest, seen[lane]);
      most = std::max(most, seen[lane]);
    }
  }

  /// Adds the set's log weight to its sums.
  void end_set() {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      set.sums.reference[lane] += shift[lane];
    }
  }
};

/// Whether some lane does not see all keys of a block.
template <int kVectors>
bool Hides(const Job& job, const Tile<kVectors>& tile, int64_t first, int64_t count) {
  return tile.fewest < first + count || job.threshold != nullptr;
}

/// Hides what lanes do not see of a block that begins at `first`; gives the largest scores left.
template <int kVectors, bool kThreshold>
HWY_INLINE Lanes<kVectors> Hide(const Tile<kVectors>& tile, int64_t first, int64_t count,
                                float* HWY_RESTRICT scores) {
  const D d;
  const auto none = hn::Set(d, -kInfinity);
  alignas(64) float of_block[tile.kLanes];
  SeenOfBlock(tile.seen, first, count, of_block);
  const auto seen = LoadLanes<kVectors>(of_block);
  auto least = LoadLanes<kVectors>(tile.threshold);
  const auto shift = LoadLanes<kVectors>(tile.shift);
  for (int v = 0; v < kVectors; ++v) {
    least.v[v] = hn::Sub(least.v[v], shift.v[v]);
  }
  auto most = Fill<kVectors>(-kInfinity);
  for (int64_t j = 0; j < count; ++j) {
    const auto key = hn::Set(d, static_cast<float>(j));
    auto s = LoadLanes<kVectors>(scores + j * tile.kLanes);
    for (int v = 0; v < kVectors; ++v) {
      s.v[v] = hn::IfThenElse(hn::Lt(key, seen.v[v]), s.v[v], none);
      if constexpr (kThreshold) {
        s.v[v] = hn::IfThenElse(hn::Lt(s.v[v], least.v[v]), none, s.v[v]);
      }
      most.v[v] = hn::Max(most.v[v], s.v[v]);
    }
    StoreLanes(s, scores + j * tile.kLanes);
  }
  return most;
}

inline bool WantsEntropy(const Job& job) {
  return job.entropy != nullptr || job.set_entropy != nullptr;
}

/// Calls `step<whether keys are hidden, whether the entropy is wanted>()`.
template <class Step>
HWY_INLINE void WithFlags(const Job& job, bool hidden, const Step& step) {
  const bool entropy = WantsEntropy(job);
  if (hidden) {
    entropy ? step.template operator()<true, true>() : step.template operator()<true, false>();
  } else {
    entropy ? step.template operator()<false, true>() : step.template operator()<false, false>();
  }
}

/// Makes weights of a block's scores, each lane's largest of which is `most`, and adds them to the
/// sums of the set. Calls `see()` once what lanes do not see has a score of -inf.
template <int kVectors, class See>
HWY_INLINE void Weigh(const Job& job, Tile<kVectors>& tile, Lanes<kVectors> most, int64_t first,
                      int64_t count, float* HWY_RESTRICT scores, const See& see) {
  const bool hidden = Hides(job, tile, first, count);
  if (hidden) {
    most = job.threshold != nullptr ? Hide<kVectors, true>(tile, first, count, scores)
                                    : Hide<kVectors, false>(tile, first, count, scores);
  }
  if (job.top > 0) {
    KeepLargest<kVectors>(scores, count, job.top, tile.top);
  }
  see();
  Raise(tile.set, most, job.value_features);
  WithFlags(job, hidden, [&]<bool kHidden, bool kEntropy>() HWY_ATTR {
    Weights<kVectors, kHidden, kEntropy>(tile.set.sums, count, scores);
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
