// The largest keys of each row, as many as its budget. Included once for each instruction set by
// Highway.

#if defined(MOTET_ATTENTION_BUDGET_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_BUDGET_INL_H_
#undef MOTET_ATTENTION_BUDGET_INL_H_
#else
#define MOTET_ATTENTION_BUDGET_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernel/fused/largest-inl.h"
#include "kernel/fused/scratch.h"
#include "kernel/fused/tile-inl.h"
#include "kernel/fused/unit.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// The largest budget of a unit's rows; 0 where none of them looks for its largest keys.
inline int64_t MostBudget(const Job& job, const Unit& unit) {
  int64_t most = 0;
  for (int64_t lane = 0; job.budget != nullptr && lane < LanesOf(unit); ++lane) {
    most = std::max(most, job.budget[PlaceOf(job, unit, lane).index]);
  }
  return most;
}

/// The largest keys of a tile's rows.
template <int kVectors>
class Budget {
 public:
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;

  /// `most` is that of all tiles.
  void begin(const Job& job, const Tile<kVectors>& tile, int64_t most, Scratch& scratch) {
    int64_t keys[kLanes] = {};
    for (int64_t lane = 0; lane < tile.lanes; ++lane) {
      keys[lane] = job.budget[tile.place[lane].index];
    }
    largest_.begin(keys, most, scratch);
    std::fill_n(first_, kLanes, -kInfinity);
  }

  /// A block of scores that begins at `first` of all keys; -inf is no score.
  void see(const Job& job, const Tile<kVectors>& tile, const float* scores, int64_t first,
           int64_t count) {
    const int64_t free = !job.counts_first && first == 0 ? 1 : 0;
    for (int64_t lane = 0; free == 1 && lane < kLanes; ++lane) {
      first_[lane] = scores[lane] + tile.shift[lane];
    }
    largest_.see(scores + free * kLanes, count - free, tile.shift);
  }

  /// Writes the mass of each row's largest keys, and what parts them from the rest.
  void write(const Job& job, const Tile<kVectors>& tile) const {
    alignas(64) float least[kLanes], outside[kLanes], weight[kLanes];
    const auto& sums = tile.row.sums;
    largest_.end(sums.reference, least, outside, weight);
    for (int64_t lane = 0; lane < tile.lanes; ++lane) {
      const auto index = tile.place[lane].index;
      if (job.budget[index] == 0 || outside[lane] == -kInfinity) {
        continue;  // T is all that the row sees: results begin as that
      }
      if (first_[lane] != -kInfinity) {
        weight[lane] += std::exp2(first_[lane] - sums.reference[lane]);
      }
      job.top_mass[index] = std::min(weight[lane] / sums.weight[lane], 1.0F);
      job.top_threshold[index] = (least[lane] + outside[lane]) / 2 * kLn2;
    }
  }

 private:
  Largest<kVectors> largest_;
  alignas(64) float first_[kLanes];  // the score of key 0, where that is in T whatever it is
};

/// A Budget of rows that do not look for their largest keys.
template <int kVectors>
struct NoBudget {
  void begin(const Job&, const Tile<kVectors>&, int64_t, Scratch&) {}
  void see(const Job&, const Tile<kVectors>&, const float*, int64_t, int64_t) {}
  void write(const Job&, const Tile<kVectors>&) const {}
};

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
