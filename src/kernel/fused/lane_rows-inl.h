// Rows by vectors of many lanes, the path of all that no other one takes. Included once for each
// instruction set by Highway.

#if defined(MOTET_ATTENTION_LANE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_LANE_ROWS_INL_H_
#undef MOTET_ATTENTION_LANE_ROWS_INL_H_
#else
#define MOTET_ATTENTION_LANE_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <span>

#include "kernel/fused/budget-inl.h"
#include "kernel/fused/lanes-inl.h"
#include "kernel/fused/scratch.h"
#include "kernel/fused/tile-inl.h"
#include "kernel/fused/unit.h"
#include "kernel/fused/unit_rows-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// The path by vectors of lanes; `OfRow` is Budget or NoBudget.
template <int kVectorsOfTile, template <int> class OfRow>
class LaneRows {
 public:
  static constexpr int kVectors = kVectorsOfTile;
  static constexpr int64_t kKeys = kBlockKeys;
  using Tiles = std::span<Tile<kVectors>>;

  static int64_t value_rows(const Job& job) { return job.value_features; }

  LaneRows(const Job& job, const Unit& unit, Tiles tiles, Scratch& scratch)
      : job_(job), tiles_(tiles) {
    scores_ = scratch.take(kKeys * kLanes);
    room_ = scratch.take(kVector * job.features);
    const bool wide = job.element != Element::kFloat32;
    wide_keys_ = scratch.take(wide ? kKeys * job.features : 0);
    wide_values_ = scratch.take(wide ? kKeys * job.value_features : 0);
    const auto most = MostBudget(job, unit);
    for (std::size_t t = 0; t < tiles.size(); ++t) {
      query_[t] = scratch.take(job.features * kLanes);
      of_row_[t].begin(job, tiles[t], most, scratch);
    }
  }

  void lay_out_query(double factor) {
    for (std::size_t t = 0; t < tiles_.size(); ++t) {
      LayOut<kVectors>(job_.element, job_.query, job_.features, tiles_[t].place, tiles_[t].lanes,
                       ScaleOf(job_, factor), room_, query_[t]);
    }
  }

  void see(const UnitSpan& span, int64_t first, int64_t block) {
    const auto keys =
        ReadRows(span.keys, job_.element, span.key_stride, first, block, job_.features, wide_keys_);
    Rows values{nullptr, 0};
    if (job_.value_features > 0) {
      values = ReadRows(span.values, job_.element, span.value_stride, first, block,
                        job_.value_features, wide_values_);
    }
    for (std::size_t t = 0; t < tiles_.size(); ++t) {
      auto& tile = tiles_[t];
      const auto count = std::min(block, tile.most - first);
      if (count > 0) {
        const auto most =
            Multiply<kVectors>(keys.data, keys.stride, count, query_[t], job_.features, scores_);
        Weigh(job_, tile, most, first, count, scores_, [&]() HWY_ATTR {
          of_row_[t].see(job_, tile, scores_, span.first_key + first, count);
        });
        if (job_.value_features > 0) {
          MultiplyTransposed<kVectors>(values.data, values.stride, count, scores_, tile.set.any,
                                       job_.value_features, tile.set.out);
        }
        tile.set.any = true;
      }
    }
  }

  void end_set(Tile<kVectors>&) const {}

  void end() const {
    for (std::size_t t = 0; t < tiles_.size(); ++t) {
      of_row_[t].write(job_, tiles_[t]);
    }
  }

 private:
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;

  const Job& job_;
  const Tiles tiles_;
  float* scores_;                        // [keys, lanes], then weights
  float* room_;                          // of a vector of lanes' queries
  float *wide_keys_, *wide_values_;      // of a block, in fp32
  float* query_[Tile<kVectors>::kMost];  // [features, lanes], times scale and log2(e)
  OfRow<kVectors> of_row_[Tile<kVectors>::kMost];
};

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
