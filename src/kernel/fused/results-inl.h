// The results of a tile: statistics in nats, and rows. Included once for each instruction set by
// Highway.

#if defined(MOTET_ATTENTION_RESULTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_RESULTS_INL_H_
#undef MOTET_ATTENTION_RESULTS_INL_H_
#else
#define MOTET_ATTENTION_RESULTS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernel/fused/tile-inl.h"
#include "kernel/fused/turning-inl.h"
#include "kernel/fused/unit.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// The lse and the entropy of each lane, in nats.
template <int kVectors>
struct Statistics {
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;
  alignas(64) float lse[kLanes], entropy[kLanes];

  explicit Statistics(const Sums<kVectors>& sums) {
    const D d;
    const auto ln2 = hn::Set(d, kLn2);
    for (int64_t at = 0; at < kLanes; at += kVector) {
      const auto weight = hn::Load(d, sums.weight + at);
      const auto log2_weight = Log2(weight);
      const auto mean = hn::Div(hn::Load(d, sums.moment + at), weight);
      hn::Store(hn::Mul(hn::Add(hn::Load(d, sums.reference + at), log2_weight), ln2), d, lse + at);
      hn::Store(hn::Max(hn::Zero(d), hn::Mul(hn::Sub(log2_weight, mean), ln2)), d,
                entropy + at);  // NaN stays NaN
    }
  }
};

/// Writes what rows know of the set that they have seen.
template <int kVectors>
void WriteSet(const Job& job, const Tile<kVectors>& tile, int64_t set) {
  const auto& sums = tile.set.sums;
  const Statistics<kVectors> of_lane(sums);
  for (int64_t lane = 0; lane < tile.lanes; ++lane) {
    const auto index = tile.place[lane].index * job.sets + set;
    if (sums.weight[lane] == 0) {
      continue;  // results begin as those of empty sets
    }
    job.set_lse[index] = of_lane.lse[lane] + tile.shift[lane] * kLn2;
    if (job.set_entropy != nullptr) {
      job.set_entropy[index] = of_lane.entropy[lane];
    }
    const bool broken = std::isnan(sums.weight[lane]);  // then its largest scores are, too
    for (int64_t r = 0; job.set_top != nullptr && r < job.top; ++r) {
      job.set_top[index * job.top + r] =
          broken ? sums.weight[lane] : tile.top[r * tile.kLanes + lane] * kLn2;
    }
  }
}

/// Writes the out of a vector of lanes from `first` on, times `factor`; 0 where that is. `room` is
/// for as many rows.
template <int kVectors>
void WriteOut(const Job& job, const Tile<kVectors>& tile, int64_t first, const float* factor,
              float* room) {
  const auto features = job.value_features, whole = features / 4 * 4;
  const auto lanes = std::min(kVector, tile.lanes - first);
  const auto* from = tile.row.out + first;
  const bool narrow = job.out_element != Element::kFloat32;
  const auto place_of = [&](int64_t lane) {
    const auto& at = tile.place[first + lane];
    return at.batch * job.out_batch + at.head * job.out_head + at.row * job.out_row;
  };
  const auto row_of = [&](int64_t lane) HWY_ATTR {
    return narrow || lane >= lanes ? room + lane * features
                                   : static_cast<float*>(job.out) + place_of(lane);
  };
  ToRows<tile.kLanes>(from, hn::Load(D(), factor), whole, row_of);
  for (int64_t lane = 0; lane < lanes; ++lane) {
    auto* row = row_of(lane);
    for (auto f = whole; f < features; ++f) {
      row[f] = from[f * tile.kLanes + lane] * factor[lane];
    }
    if (factor[lane] == 0) {
      std::fill_n(row, features, 0.0F);
    }
    if (narrow) {
      CopyElements(row, features, static_cast<uint16_t*>(job.out) + place_of(lane));
    }
  }
}

/// Writes a tile's rows. `room` is for kVector of them.
template <int kVectors>
void WriteRows(const Job& job, const Tile<kVectors>& tile, float* room) {
  const auto& row = tile.row;
  const Statistics<kVectors> of_lane(row.sums);
  alignas(64) float factor[tile.kLanes] = {};
  for (int64_t lane = 0; lane < tile.lanes; ++lane) {
    if (!row.any || row.sums.weight[lane] == 0) {
      continue;  // results begin as those of rows without keys
    }
    const auto index = tile.place[lane].index;
    job.lse[index] = of_lane.lse[lane];
    if (job.entropy != nullptr) {
      job.entropy[index] = of_lane.entropy[lane];
    }
    factor[lane] = 1 / row.sums.weight[lane];
  }
  for (int64_t first = 0; job.value_features > 0 && first < tile.lanes; first += kVector) {
    WriteOut(job, tile, first, factor + first, room);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
