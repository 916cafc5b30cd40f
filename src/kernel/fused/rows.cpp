// The fused kernel: rows over sets of keys in one pass over blocks of keys.
//
// One lane of a vector is one row, so nothing is ever summed across lanes: a block of scores is
// S^T = K Q^T [keys, lanes], its softmax statistics are vertical, and out^T += V^T P^T. Keys and
// values are read as they lie, one element broadcast to all lanes; only the queries are laid out
// anew, [features, lanes].
//
// Three paths multiply: vectors of many lanes, vectors along the features of few lanes, and a
// matrix engine.

#include "kernel/fused/unit.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/fused/rows.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first
#include <algorithm>
#include <span>

#include "kernel/fused/budget-inl.h"
#include "kernel/fused/choice-inl.h"
#include "kernel/fused/engine_rows-inl.h"
#include "kernel/fused/few_lane_rows-inl.h"
#include "kernel/fused/lane_rows-inl.h"
#include "kernel/fused/results-inl.h"
#include "kernel/fused/scratch.h"
#include "kernel/fused/tile-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// Computes a unit's rows by a path, set by set. A path makes weights and their products:
/// `lay_out_query` where the sets' factor changes, `see` for each block of up to kKeys keys,
/// `end_set` before what a tile knows of a set is written, `end` before its rows are.
template <class Path>
void RunSpans(const Job& job, const Unit& unit, Scratch& scratch) {
  constexpr int kVectors = Path::kVectors;
  constexpr auto kLanes = Tile<kVectors>::kLanes, kMost = Tile<kVectors>::kMost;
  Tile<kVectors> tile[kMost];
  Choice<kVectors> choice[kMost];
  const auto tiles = (LanesOf(unit) + kLanes - 1) / kLanes;
  scratch.reset();
  auto* const room = scratch.take(kVector * job.value_features);
  for (int64_t t = 0; t < tiles; ++t) {
    tile[t].begin(job, unit, t * kLanes, Path::value_rows(job), scratch);
    choice[t].begin(job, Path::value_rows(job), scratch);
  }
  Path path(job, unit, std::span(tile, tiles), scratch);

  double factor = 0;
  for (std::size_t i = 0; i < unit.spans.size(); ++i) {
    const auto& span = unit.spans[i];
    if (span.factor != factor) {
      factor = span.factor;
      path.lay_out_query(factor);
    }
    const bool begins = i == 0 || unit.spans[i - 1].set != span.set;
    const bool ends = i + 1 == unit.spans.size() || unit.spans[i + 1].set != span.set;
    int64_t most = 0;  // keys that a lane sees
    for (int64_t t = 0; t < tiles; ++t) {
      if (begins) {
        tile[t].begin_set(job, span.set);
      }
      tile[t].begin_span(span, unit.first_row);
      most = std::max(most, tile[t].most);
    }
    for (int64_t first = 0; first < most; first += Path::kKeys) {
      path.see(span, first, std::min(Path::kKeys, most - first));
    }
    for (int64_t t = 0; ends && t < tiles; ++t) {
      if (!tile[t].set.any) {
        continue;  // results begin as those of empty sets
      }
      path.end_set(tile[t]);
      WriteSet(job, tile[t], span.set);
      tile[t].end_set();
      if (job.choice.among(span.set)) {
        choice[t].consider(job, tile[t], span.set);
      } else {
        Merge(tile[t].row, tile[t].set, job.value_features);
      }
    }
  }
  for (int64_t t = 0; job.choice.wanted() && t < tiles; ++t) {
    choice[t].end(job, tile[t]);
  }
  path.end();
  for (int64_t t = 0; t < tiles; ++t) {
    WriteRows(job, tile[t], room);
  }
}

/// The path of a unit that has too many lanes for that of few.
template <int kVectors>
void RunLanes(const Job& job, const Unit& unit, Scratch& scratch) {
  if constexpr (Lanes<kVectors>::kCount == kEngineLanes) {
    if (job.engine != nullptr) {
      return RunSpans<EngineRows<kVectors>>(job, unit, scratch);
    }
  }
  if (MostBudget(job, unit) > 0) {
    RunSpans<LaneRows<kVectors, Budget>>(job, unit, scratch);
  } else {
    RunSpans<LaneRows<kVectors, NoBudget>>(job, unit, scratch);
  }
}

void Run(const Job& job, const Unit& unit) {
  thread_local Scratch scratch;
  if (AreFewLanes(job, unit)) {
    if (job.element == Element::kFloat32) {
      RunSpans<FewLaneRows<float>>(job, unit, scratch);
    } else {
      RunSpans<FewLaneRows<uint16_t>>(job, unit, scratch);
    }
  } else if (LanesOf(unit) <= kVector) {
    RunLanes<1>(job, unit, scratch);
  } else {
    RunLanes<2>(job, unit, scratch);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#if HWY_ONCE
namespace motet::fused {

RunUnit run_unit(InstructionSet set) { return MOTET_PICK(set, fused, Run); }

}  // namespace motet::fused
#endif  // HWY_ONCE
