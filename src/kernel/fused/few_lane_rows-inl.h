// Rows of at most kFewLanes lanes, as while generating. Included once for each instruction set by
// Highway.

#if defined(MOTET_ATTENTION_FEW_LANE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_FEW_LANE_ROWS_INL_H_
#undef MOTET_ATTENTION_FEW_LANE_ROWS_INL_H_
#else
#define MOTET_ATTENTION_FEW_LANE_ROWS_INL_H_
#endif

#include <cstdint>
#include <span>

#include "kernel/fused/few_lanes-inl.h"
#include "kernel/fused/scratch.h"
#include "kernel/fused/tile-inl.h"
#include "kernel/fused/unit.h"
#include "kernel/fused/unit_rows-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// Whether few lanes have their own path. Where a threshold parts keys, every pass adds up their
/// scores in the same order (fused.cpp).
inline bool AreFewLanes(const Job& job, const Unit& unit) {
  const bool parts_keys = job.budget != nullptr || job.threshold != nullptr;
  return LanesOf(unit) <= kFewLanes && !parts_keys && job.features % kVector == 0 &&
         job.value_features % kVector == 0;
}

/// The path of few lanes, by vectors along features.
template <class Element>
class FewLaneRows {
 public:
  static constexpr int kVectors = 1;
  static constexpr int64_t kKeys = kBlockKeys;

  static int64_t value_rows(const Job& job) { return job.value_features; }

  FewLaneRows(const Job& job, const Unit&, std::span<Tile<1>> tiles, Scratch& scratch)
      : job_(job), tile_(tiles[0]) {
    scores_ = scratch.take(kKeys * kVector);
    queries_ = scratch.take(kFewLanes * job.features);
    room_ = scratch.take(job.features);
  }

  void lay_out_query(double factor) {
    const auto features = job_.features;
    const auto scale = ScaleOf(job_, factor);
    for (int64_t lane = 0; lane < tile_.lanes; ++lane) {
      CopyRow(job_.query, job_.element, tile_.place[lane], features, room_);
      for (int64_t f = 0; f < features; ++f) {
        queries_[lane * features + PlaceInPair<Element>(f, features)] = room_[f] * scale;
      }
    }
  }

  void see(const UnitSpan& span, int64_t first, int64_t count) {
    const auto features = job_.features, value_features = job_.value_features;
    const auto* keys = static_cast<const Element*>(span.keys) + first * span.key_stride;
    const auto* values = static_cast<const Element*>(span.values) + first * span.value_stride;
    if (first == 0 && value_features > 0) {
      PrefetchRows(values, span.value_stride, count, value_features);
    }
    WithFewLanes(tile_.lanes, [&]<int kUsed>() HWY_ATTR {
      const auto most =
          MultiplyFewRows<kUsed>(keys, span.key_stride, count, queries_, features, scores_);
      const auto add_values = [&]<int64_t kStride>() HWY_ATTR {
        MultiplyFewColumns<kUsed, kStride>(values, span.value_stride, count, scores_, tile_.set.any,
                                           value_features, tile_.set.out);
      };
      if (Hides(job_, tile_, first, count) || job_.top > 0) {
        SpreadFew(count, scores_);
        Weigh(job_, tile_, most, first, count, scores_, [] {});
        add_values.template operator()<kVector>();
      } else {
        Raise(tile_.set, most, value_features);
        WantsEntropy(job_) ? FewWeights<true>(tile_.set.sums, count, scores_)
                           : FewWeights<false>(tile_.set.sums, count, scores_);
        add_values.template operator()<kFewLanes>();
      }
    });
    tile_.set.any = true;
  }

  void end_set(Tile<1>&) const {}
  void end() const {}

 private:
  const Job& job_;
  Tile<1>& tile_;
  float* scores_;   // [keys, kFewLanes] or [keys, kVector], then weights
  float* queries_;  // [lanes, features], laid out as PlaceInPair says
  float* room_;     // of a query
};

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
