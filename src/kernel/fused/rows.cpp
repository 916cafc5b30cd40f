// The fused kernel: rows over sets of keys in one pass over blocks of keys.
//
// One lane of a vector is one row, so nothing is ever summed across lanes: a block of scores is
// S^T = K Q^T [keys, lanes], its softmax statistics are vertical, and out^T += V^T P^T. Keys and
// values are read as they lie, one element broadcast to all lanes; only the queries are laid out
// anew, [features, lanes].
//
// With a matrix engine both products of bf16 are its own: the weights are rounded to bf16, and the
// statistics are of what they were before. While it multiplies for some lanes, vectors make the
// weights of others.

#include "kernel/fused/unit.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/fused/rows.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first
#include <cmath>

#include "kernel/fused/engine_blocks-inl.h"
#include "kernel/fused/few_lanes-inl.h"
#include "kernel/fused/lanes-inl.h"
#include "kernel/fused/largest-inl.h"
#include "kernel/fused/scratch.h"
#include "kernel/fused/softmax-inl.h"
#include "kernel/fused/unit_rows-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// A set that lanes would keep.
template <int kVectors>
struct Candidate {
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;
  Part<kVectors> part;
  alignas(64) float score[kLanes];  // log2 of its largest probabilities, but for a constant
  alignas(64) float set[kLanes];
};

/// Some lanes of a unit: what they have seen, and what they see of the current span.
template <int kVectors>
struct Tile {
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;
  float* query;           // [features, lanes], times scale and log2(e)
  uint32_t* query_pairs;  // the query itself, for a matrix engine: [features / 2, lanes]
  float* top;             // [top, lanes], of the current set
  int64_t lanes;          // that are in use
  Place place[kLanes];
  Part<kVectors> row, set;
  int64_t seen[kLanes];                 // keys of the current span that a lane sees
  int64_t fewest, most;                 // of them all
  alignas(64) float shift[kLanes];      // log weight of the current set, base 2
  alignas(64) float threshold[kLanes];  // on effective scores, base 2
  Largest<kVectors> largest;            // of the row
  alignas(64) float first[kLanes];      // the score of key 0, where that is in T whatever it is
};

/// Hides what lanes do not see of a block that begins at `first`; gives the largest score left.
template <int kVectors>
HWY_INLINE Lanes<kVectors> Hide(const Tile<kVectors>& tile, bool threshold, int64_t first,
                                int64_t count, float* HWY_RESTRICT scores) {
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
      if (threshold) {
        s.v[v] = hn::IfThenElse(hn::Lt(s.v[v], least.v[v]), none, s.v[v]);
      }
      most.v[v] = hn::Max(most.v[v], s.v[v]);
    }
    StoreLanes(s, scores + j * tile.kLanes);
  }
  return most;
}

template <int kVectors>
class UnitRun {
 public:
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;
  static constexpr int64_t kTiles = kVectors == 1 ? 1 : kMostUnitLanes / kLanes;

  UnitRun(const Job& job, const Unit& unit, Scratch& scratch)
      : job_(job), unit_(unit), lanes_(unit.rows * unit.batches * unit.heads) {
    tiles_ = (lanes_ + kLanes - 1) / kLanes;
    // Where a threshold parts keys, every pass adds up their scores in the same order (fused.cpp).
    const bool parts_keys = job.budget != nullptr || job.threshold != nullptr;
    few_ = kVectors == 1 && lanes_ <= kFewLanes && !parts_keys && job.features % kVector == 0 &&
           job.value_features % kVector == 0;
    if (kLanes == kEngineLanes) {
      engine_ = job.engine;
    }
    block_keys_ = engine_ != nullptr ? kEngineKeys : kBlockKeys;
    depth_ = RoundedUp(job.features, kEngineDepth);
    value_rows_ =
        engine_ != nullptr ? RoundedUp(job.value_features, kEngineRows) : job.value_features;
    const bool wide = job.element != Element::kFloat32 && !few_ && engine_ == nullptr;
    const auto of_engine = engine_ != nullptr ? 1 : 0;
    int64_t budget = 0;  // the largest of all lanes
    for (int64_t lane = 0; job.budget != nullptr && lane < lanes_; ++lane) {
      budget = std::max(budget, job.budget[PlaceOf(job, unit, lane).index]);
    }
    counts_ = budget > 0;
    scratch.reset();
    scores_[0] = scratch.take(block_keys_ * kLanes);
    // A tile's scores are read while the engine makes those of the next.
    scores_[1] = scratch.take(of_engine * block_keys_ * kLanes);
    rows_ = scratch.take(kVector * std::max(job.features, job.value_features));
    few_queries_ = scratch.take(few_ ? lanes_ * job.features : 0);
    if (wide) {
      wide_keys_ = scratch.take(kBlockKeys * job.features);
      wide_values_ = scratch.take(kBlockKeys * job.value_features);
    }
    padded_keys_ = scratch.take<uint16_t>(of_engine * kEngineKeys * depth_);
    turned_values_ = scratch.take<uint16_t>(of_engine * value_rows_ * kEngineKeys);
    for (auto& pairs : weight_pairs_) {
      pairs = scratch.take<uint32_t>(of_engine * kEngineKeys / 2 * kLanes);
    }
    for (int64_t t = 0; t < tiles_; ++t) {
      auto& tile = tile_[t];
      tile.query = scratch.take((1 - of_engine) * job.features * kLanes);
      tile.query_pairs = scratch.take<uint32_t>(of_engine * depth_ / 2 * kLanes);
      tile.top = scratch.take(job.top * kLanes);
      tile.lanes = std::min(kLanes, lanes_ - t * kLanes);
      begin(tile.row, scratch);
      begin(tile.set, scratch);
      candidates_[t] = scratch.take<Candidate<kVectors>>(job.choice.keep);
      for (int64_t k = 0; k < job.choice.keep; ++k) {
        auto& candidate = candidates_[t][k];
        begin(candidate.part, scratch);
        std::fill_n(candidate.score, kLanes, -kInfinity);
        std::fill_n(candidate.set, kLanes, -1.0F);
      }
      for (int64_t lane = 0; lane < tile.lanes; ++lane) {
        const auto at = tile.place[lane] = PlaceOf(job, unit, t * kLanes + lane);
        tile.threshold[lane] = job.threshold != nullptr ? job.threshold[at.index] * kLog2e : 0;
      }
      if (counts_) {
        int64_t keys[kLanes] = {};
        for (int64_t lane = 0; lane < tile.lanes; ++lane) {
          keys[lane] = job.budget[tile.place[lane].index];
        }
        tile.largest.begin(keys, budget, scratch);
        std::fill_n(tile.first, kLanes, -kInfinity);
      }
    }
  }

  void run() {
    if (engine_ == nullptr) {
      return run_spans();
    }
    engine_->begin();
    run_spans();
    engine_->end();
  }

 private:
  void run_spans() {
    double factor = 0;
    for (std::size_t i = 0; i < unit_.spans.size(); ++i) {
      const auto& span = unit_.spans[i];
      if (span.factor != factor) {
        factor = span.factor;
        lay_out_query(factor);
      }
      if (i == 0 || unit_.spans[i - 1].set != span.set) {
        begin_set(span.set);
      }
      see(span);
      if (i + 1 == unit_.spans.size() || unit_.spans[i + 1].set != span.set) {
        end_set(span.set);
      }
    }
    if (job_.choice.wanted()) {
      keep();
    }
    finish();
  }

  void begin(Part<kVectors>& part, Scratch& scratch) const {
    part.out = scratch.take(value_rows_ * kLanes);
    part.any = false;
    part.sums.clear();
  }

  void lay_out_query(double factor) {
    const auto scale = static_cast<float>(job_.scale * factor * 1.4426950408889634);
    if (engine_ != nullptr) {
      return lay_out_pairs(scale);
    }
    for (int64_t t = 0; t < tiles_; ++t) {
      LayOut<kVectors>(job_.element, job_.query, job_.features, tile_[t].place, tile_[t].lanes,
                       scale, rows_, tile_[t].query);
    }
    for (int64_t lane = 0; few_ && lane < lanes_; ++lane) {
      for (int64_t f = 0; f < job_.features; ++f) {
        const auto at =
            job_.element == Element::kFloat32 ? f : PlaceInPair<uint16_t>(f, job_.features);
        few_queries_[lane * job_.features + at] = tile_[0].query[f * kLanes + lane];
      }
    }
  }

  /// The engine takes queries as they are; scores are scaled later, by no less than 0.
  void lay_out_pairs(float scale) {
    scale_ = scale == 0 ? 1 : std::fabs(scale);
    for (int64_t t = 0; t < tiles_; ++t) {
      LayOutPairs<kVectors>(job_.query, job_.features, tile_[t].place,
                            scale == 0 ? 0 : tile_[t].lanes, scale < 0, padded_keys_,
                            tile_[t].query_pairs);
    }
  }

  void begin_set(int64_t set) {
    for (int64_t t = 0; t < tiles_; ++t) {
      auto& tile = tile_[t];
      tile.set.any = false;
      tile.set.sums.clear();
      std::fill_n(tile.top, job_.top * kLanes, -kInfinity);
      std::fill_n(tile.shift, kLanes, 0.0F);
      if (job_.log_weight != nullptr) {
        for (int64_t lane = 0; lane < tile.lanes; ++lane) {
          tile.shift[lane] = job_.log_weight[tile.place[lane].index * job_.sets + set] * kLog2e;
        }
      }
    }
  }

  /// How many keys of the span each lane sees; none where its row drops the set.
  void look(const UnitSpan& span, Tile<kVectors>& tile) const {
    tile.fewest = std::numeric_limits<int64_t>::max();
    tile.most = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      int64_t seen = 0;
      if (lane < tile.lanes) {
        const bool dropped = tile.shift[lane] == -kInfinity;
        seen = dropped ? 0 : KeysSeen(span, tile.place[lane].row - unit_.first_row);
        tile.fewest = std::min(tile.fewest, seen);
        tile.most = std::max(tile.most, seen);
      }
      tile.seen[lane] = seen;
    }
  }

  void see(const UnitSpan& span) {
    int64_t most = 0;
    for (int64_t t = 0; t < tiles_; ++t) {
      look(span, tile_[t]);
      most = std::max(most, tile_[t].most);
    }
    for (int64_t first = 0; first < most; first += block_keys_) {
      const auto block = std::min(block_keys_, most - first);
      if constexpr (kLanes == kEngineLanes) {
        if (engine_ != nullptr) {
          see_with_engine(span, first, block);
          continue;
        }
      }
      if (few_) {
        see_few(span, first, block);
        continue;
      }
      const auto keys = ReadRows(span.keys, job_.element, span.key_stride, first, block,
                                 job_.features, wide_keys_);
      Rows values{nullptr, 0};
      if (job_.value_features > 0) {
        values = ReadRows(span.values, job_.element, span.value_stride, first, block,
                          job_.value_features, wide_values_);
      }
      for (int64_t t = 0; t < tiles_; ++t) {
        auto& tile = tile_[t];
        const auto count = std::min(block, tile.most - first);
        if (count > 0) {
          const auto most = Multiply<kVectors>(keys.data, keys.stride, count, tile.query,
                                               job_.features, scores_[0]);
          weigh(tile, most, span, first, count);
          if (job_.value_features > 0) {
            MultiplyTransposed<kVectors>(values.data, values.stride, count, scores_[0],
                                         tile.set.any, job_.value_features, tile.set.out);
          }
          tile.set.any = true;
        }
      }
    }
  }

  /// A block of keys for the engine: it multiplies what the next tile's scores and the last tile's
  /// out need while a tile's weights are made.
  void see_with_engine(const UnitSpan& span, int64_t first, int64_t block) {
    const auto rows_of = [&](const void* data, int64_t stride) {
      return NarrowRows{static_cast<const uint16_t*>(data) + first * stride, stride};
    };
    const auto keys =
        PadRows(rows_of(span.keys, span.key_stride), block, job_.features, padded_keys_);
    if (job_.value_features > 0) {
      TransposeRows(rows_of(span.values, span.value_stride), block, job_.value_features,
                    turned_values_);
    }
    const auto count_of = [&](int64_t t) { return std::min(block, tile_[t].most - first); };
    const auto next = [&](int64_t t) {
      while (t < tiles_ && count_of(t) <= 0) {
        ++t;
      }
      return t;
    };
    EngineQueue queue(*engine_);
    int now = 0;        // a tile's scores and weights lie in one of two places
    int64_t last = -1;  // the tile whose values wait
    const auto add_scores = [&](int64_t t, int place) {
      if (t < tiles_) {
        queue.add(score_product(keys, tile_[t], count_of(t), scores_[place]));
      }
    };
    const auto add_values = [&]() {
      if (last >= 0 && job_.value_features > 0) {
        queue.add(value_product(tile_[last], count_of(last), weight_pairs_[1 - now]));
      }
      if (last >= 0) {
        tile_[last].set.any = true;
      }
    };
    auto t = next(0);
    add_scores(t, now);
    queue.finish();
    while (t < tiles_) {
      const auto after = next(t + 1);
      add_scores(after, 1 - now);
      add_values();
      weigh_pairs(tile_[t], first, count_of(t), scores_[now], queue, weight_pairs_[now]);
      queue.finish();
      last = t;
      t = after;
      now = 1 - now;
    }
    add_values();
    queue.finish();
  }

  EngineProduct score_product(const NarrowRows& keys, const Tile<kVectors>& tile, int64_t count,
                              float* scores) const {
    return {.a = keys.data,
            .stride = keys.stride,
            .b = tile.query_pairs,
            .rows = RoundedUp(count, kEngineRows),
            .depth = depth_,
            .add = false,
            .out = scores};
  }

  EngineProduct value_product(const Tile<kVectors>& tile, int64_t count,
                              const uint32_t* pairs) const {
    return {.a = turned_values_,
            .stride = kEngineKeys,
            .b = pairs,
            .rows = value_rows_,
            .depth = RoundedUp(count, kEngineDepth),
            .add = tile.set.any,
            .out = tile.set.out};
  }

  /// A block of keys for a few lanes.
  void see_few(const UnitSpan& span, int64_t first, int64_t count) {
    if (job_.element == Element::kFloat32) {
      see_few_of<float>(span, first, count);
    } else {
      see_few_of<uint16_t>(span, first, count);
    }
  }

  template <class Element>
  void see_few_of(const UnitSpan& span, int64_t first, int64_t count) {
    if constexpr (kVectors == 1) {
      auto& tile = tile_[0];
      const auto* keys = static_cast<const Element*>(span.keys) + first * span.key_stride;
      const auto* values = static_cast<const Element*>(span.values) + first * span.value_stride;
      if (first == 0 && job_.value_features > 0) {
        PrefetchRows(values, span.value_stride, count, job_.value_features);
      }
      WithFewLanes(lanes_, [&]<int kUsed>() HWY_ATTR {
        const auto most = MultiplyFewRows<kUsed>(keys, span.key_stride, count, few_queries_,
                                                 job_.features, scores_[0]);
        const auto add_values = [&]<int64_t kStride>() HWY_ATTR {
          MultiplyFewColumns<kUsed, kStride>(values, span.value_stride, count, scores_[0],
                                             tile.set.any, job_.value_features, tile.set.out);
        };
        if (hides(tile, first, count) || job_.top > 0) {
          SpreadFew(count, scores_[0]);
          weigh(tile, most, span, first, count);
          add_values.template operator()<kVector>();
        } else {
          Raise(tile.set, most, job_.value_features);
          wants_entropy() ? FewWeights<true>(tile.set.sums, count, scores_[0])
                          : FewWeights<false>(tile.set.sums, count, scores_[0]);
          add_values.template operator()<kFewLanes>();
        }
      });
      tile.set.any = true;
    }
  }

  /// Whether some lane does not see all keys of a block.
  bool hides(const Tile<kVectors>& tile, int64_t first, int64_t count) const {
    return tile.fewest < first + count || job_.threshold != nullptr;
  }
  bool wants_entropy() const { return job_.entropy != nullptr || job_.set_entropy != nullptr; }

  /// From a block's scores to its weights, which are added to the sums.
  void weigh(Tile<kVectors>& tile, Lanes<kVectors> most, const UnitSpan& span, int64_t first,
             int64_t count) {
    auto* scores = scores_[0];
    const bool hidden = hides(tile, first, count);
    if (hidden) {
      most = Hide(tile, job_.threshold != nullptr, first, count, scores);
    }
    if (job_.top > 0) {
      KeepLargest<kVectors>(scores, count, job_.top, tile.top);
    }
    if (counts_) {
      const int64_t free = !job_.counts_first && span.first_key + first == 0 ? 1 : 0;
      for (int64_t lane = 0; free == 1 && lane < kLanes; ++lane) {
        tile.first[lane] = scores[lane] + tile.shift[lane];
      }
      tile.largest.see(scores + free * kLanes, count - free, tile.shift);
    }
    Raise(tile.set, most, job_.value_features);
    with_flags(hidden, [&]<bool kHidden, bool kEntropy>() HWY_ATTR {
      Weights<kVectors, kHidden, kEntropy>(tile.set.sums, count, scores);
    });
  }

  /// The same beside the engine. Scores and the largest of them are yet to be scaled.
  void weigh_pairs(Tile<kVectors>& tile, int64_t first, int64_t count, float* scores,
                   EngineQueue& queue, uint32_t* pairs) {
    const auto steps = queue.steps(), calls = count / kGroupKeys + 1;
    int64_t call = 0;
    const auto between = [&]() HWY_ATTR {  // as many steps as are due by now
      queue.advance(queue.steps() - steps * (calls - ++call) / calls);
    };
    between();
    const bool hidden = hides(tile, first, count);
    auto most =
        hidden ? Hide(tile, false, first, count, scores) : LargestScores<kVectors>(scores, count);
    if (job_.top > 0) {
      KeepLargest<kVectors>(scores, count, job_.top, tile.top);
    }
    for (int v = 0; v < kVectors; ++v) {
      most.v[v] = hn::Mul(most.v[v], hn::Set(D(), scale_));
    }
    Raise(tile.set, most, job_.value_features);
    with_flags(hidden, [&]<bool kHidden, bool kEntropy>() HWY_ATTR {
      PairWeights<kVectors, kHidden, kEntropy>(tile.set.sums, scale_, count, scores, between,
                                               pairs);
    });
  }

  /// Calls `step<whether keys are hidden, whether the entropy is wanted>()`.
  template <class Step>
  void with_flags(bool hidden, const Step& step) const {
    const bool entropy = wants_entropy();
    if (hidden) {
      entropy ? step.template operator()<true, true>() : step.template operator()<true, false>();
    } else {
      entropy ? step.template operator()<false, true>() : step.template operator()<false, false>();
    }
  }

  /// Of each lane, in nats.
  struct Statistics {
    alignas(64) float lse[kLanes], entropy[kLanes];

    explicit Statistics(const Sums<kVectors>& sums) {
      const D d;
      const auto ln2 = hn::Set(d, kLn2);
      for (int64_t at = 0; at < kLanes; at += kVector) {
        const auto weight = hn::Load(d, sums.weight + at);
        const auto log2_weight = Log2(weight);
        const auto mean = hn::Div(hn::Load(d, sums.moment + at), weight);
        hn::Store(hn::Mul(hn::Add(hn::Load(d, sums.reference + at), log2_weight), ln2), d,
                  lse + at);
        hn::Store(hn::Max(hn::Zero(d), hn::Mul(hn::Sub(log2_weight, mean), ln2)), d,
                  entropy + at);  // NaN stays NaN
      }
    }
  };

  void end_set(int64_t set) {
    for (int64_t t = 0; t < tiles_; ++t) {
      auto& tile = tile_[t];
      if (!tile.set.any) {
        continue;  // results begin as those of empty sets
      }
      for (int64_t i = 0; engine_ != nullptr && i < job_.top * kLanes; ++i) {
        tile.top[i] *= scale_;
      }
      const auto& sums = tile.set.sums;
      const Statistics of_lane(sums);
      for (int64_t lane = 0; lane < tile.lanes; ++lane) {
        const auto index = tile.place[lane].index * job_.sets + set;
        if (sums.weight[lane] == 0) {
          continue;
        }
        job_.set_lse[index] = of_lane.lse[lane] + tile.shift[lane] * kLn2;
        if (job_.set_entropy != nullptr) {
          job_.set_entropy[index] = of_lane.entropy[lane];
        }
        const bool broken = std::isnan(sums.weight[lane]);  // then its largest scores are, too
        for (int64_t r = 0; job_.set_top != nullptr && r < job_.top; ++r) {
          job_.set_top[index * job_.top + r] =
              broken ? sums.weight[lane] : tile.top[r * kLanes + lane] * kLn2;
        }
      }
      for (int64_t lane = 0; lane < kLanes; ++lane) {
        tile.set.sums.reference[lane] += tile.shift[lane];
      }
      if (job_.choice.among(set)) {
        consider(tile, candidates_[t], set);
      } else {
        Merge(tile.row, tile.set, job_.value_features);
      }
    }
  }

  /// The current set takes the place of each lane's worst candidate, where it is better. The sum of
  /// a set's largest probabilities orders sets as that of their exponentials.
  void consider(Tile<kVectors>& tile, Candidate<kVectors>* candidates, int64_t set) const {
    const D d;
    for (int64_t at = 0; at < kLanes; at += kVector) {
      const auto most = hn::Load(d, tile.top + at);
      auto sum = hn::Zero(d);
      for (int64_t r = 0; r < job_.top; ++r) {
        const auto x = hn::Load(d, tile.top + r * kLanes + at);
        const auto none = hn::Eq(x, hn::Set(d, -kInfinity));
        sum = hn::Add(sum, hn::IfThenZeroElse(none, Exp2(hn::Sub(x, most))));
      }
      auto mine = hn::IfThenElse(hn::Gt(sum, hn::Zero(d)), hn::Add(most, Log2(sum)),
                                 hn::Set(d, -kInfinity));
      // A set of NaN is kept, so that its rows show it.
      const auto broken = hn::IsNaN(hn::Load(d, tile.set.sums.weight + at));
      mine = hn::IfThenElse(broken, hn::Set(d, kInfinity), mine);
      auto worst = hn::Load(d, candidates[0].score + at);
      auto latest = hn::Load(d, candidates[0].set + at);
      for (int64_t k = 1; k < job_.choice.keep;
           ++k) {  // the lowest score, and of equal ones the latest
        const auto other = hn::Load(d, candidates[k].score + at);
        const auto other_set = hn::Load(d, candidates[k].set + at);
        const auto worse =
            hn::Or(hn::Lt(other, worst), hn::And(hn::Eq(other, worst), hn::Gt(other_set, latest)));
        worst = hn::IfThenElse(worse, other, worst);
        latest = hn::IfThenElse(worse, other_set, latest);
      }
      auto open = hn::Gt(mine, worst);  // lanes that still have to put it somewhere
      for (int64_t k = 0; k < job_.choice.keep; ++k) {
        auto& candidate = candidates[k];
        const auto here = hn::And(open, hn::And(hn::Eq(hn::Load(d, candidate.score + at), worst),
                                                hn::Eq(hn::Load(d, candidate.set + at), latest)));
        if (hn::AllFalse(d, here)) {
          continue;
        }
        open = hn::AndNot(here, open);
        const auto take = [&](const float* from, float* to) HWY_ATTR {
          hn::Store(hn::IfThenElse(here, hn::Load(d, from + at), hn::Load(d, to + at)), d, to + at);
        };
        hn::Store(hn::IfThenElse(here, mine, hn::Load(d, candidate.score + at)), d,
                  candidate.score + at);
        hn::Store(hn::IfThenElse(here, hn::Set(d, static_cast<float>(set)),
                                 hn::Load(d, candidate.set + at)),
                  d, candidate.set + at);
        take(tile.set.sums.reference, candidate.part.sums.reference);
        take(tile.set.sums.weight, candidate.part.sums.weight);
        take(tile.set.sums.moment, candidate.part.sums.moment);
        for (int64_t f = 0; f < job_.value_features; ++f) {
          take(tile.set.out + f * kLanes, candidate.part.out + f * kLanes);
        }
        candidate.part.any = true;
      }
    }
  }

  /// The row of the candidates that are left; all others are dropped.
  void keep() {
    for (int64_t t = 0; t < tiles_; ++t) {
      for (int64_t lane = 0; lane < tile_[t].lanes; ++lane) {
        const auto first = tile_[t].place[lane].index * job_.sets;
        for (auto set = job_.choice.first; set < job_.choice.first + job_.choice.sets; ++set) {
          bool kept = false;
          for (int64_t k = 0; k < job_.choice.keep; ++k) {
            kept = kept || candidates_[t][k].set[lane] == static_cast<float>(set);
          }
          job_.chosen[first + set] = kept ? 0 : -kInfinity;
          if (!kept) {
            job_.set_lse[first + set] = -kInfinity;
            if (job_.set_entropy != nullptr) {
              job_.set_entropy[first + set] = 0;
            }
          }
        }
      }
      for (int64_t k = 0; k < job_.choice.keep; ++k) {
        Merge(tile_[t].row, candidates_[t][k].part, job_.value_features);
      }
    }
  }

  /// The mass of each lane's largest keys, and what parts them from the rest.
  void finish_largest(const Tile<kVectors>& tile) const {
    alignas(64) float least[kLanes], outside[kLanes], weight[kLanes];
    const auto& sums = tile.row.sums;
    tile.largest.end(sums.reference, least, outside, weight);
    for (int64_t lane = 0; lane < tile.lanes; ++lane) {
      const auto index = tile.place[lane].index;
      if (job_.budget[index] == 0 || outside[lane] == -kInfinity) {
        continue;  // T is all that the row sees: results begin as that
      }
      if (tile.first[lane] != -kInfinity) {
        weight[lane] += std::exp2(tile.first[lane] - sums.reference[lane]);
      }
      job_.top_mass[index] = std::min(weight[lane] / sums.weight[lane], 1.0F);
      job_.top_threshold[index] = (least[lane] + outside[lane]) / 2 * kLn2;
    }
  }

  void finish() {
    for (int64_t t = 0; t < tiles_; ++t) {
      if (counts_) {
        finish_largest(tile_[t]);
      }
      const auto& row = tile_[t].row;
      const Statistics of_lane(row.sums);
      alignas(64) float factor[kLanes] = {};
      for (int64_t lane = 0; lane < tile_[t].lanes; ++lane) {
        if (!row.any || row.sums.weight[lane] == 0) {
          continue;  // results begin as those of rows without keys
        }
        const auto index = tile_[t].place[lane].index;
        job_.lse[index] = of_lane.lse[lane];
        if (job_.entropy != nullptr) {
          job_.entropy[index] = of_lane.entropy[lane];
        }
        factor[lane] = 1 / row.sums.weight[lane];
      }
      if (job_.value_features > 0) {
        for (int64_t half = 0; half < tile_[t].lanes; half += kVector) {
          write_out(t, half, factor + half);
        }
      }
    }
  }

  /// A vector of lanes' out, times `factor`; 0 where that is.
  void write_out(int64_t t, int64_t half, const float* factor) const {
    const auto features = job_.value_features, whole = features / 4 * 4;
    const auto lanes = std::min(kVector, tile_[t].lanes - half);
    const auto* from = tile_[t].row.out + half;
    const bool narrow = job_.out_element != Element::kFloat32;
    const auto first_of = [&](int64_t lane) {
      const auto& at = tile_[t].place[half + lane];
      return at.batch * job_.out_batch + at.head * job_.out_head + at.row * job_.out_row;
    };
    const auto row_of = [&](int64_t lane) HWY_ATTR {
      return narrow || lane >= lanes ? rows_ + lane * features
                                     : static_cast<float*>(job_.out) + first_of(lane);
    };
    ToRows<kLanes>(from, hn::Load(D(), factor), whole, row_of);
    for (int64_t lane = 0; lane < lanes; ++lane) {
      auto* row = row_of(lane);
      for (auto f = whole; f < features; ++f) {
        row[f] = from[f * kLanes + lane] * factor[lane];
      }
      if (factor[lane] == 0) {
        std::fill_n(row, features, 0.0F);
      }
      if (narrow) {
        CopyElements(row, features, static_cast<uint16_t*>(job_.out) + first_of(lane));
      }
    }
  }

  const Job& job_;
  const Unit& unit_;
  int64_t lanes_, tiles_;
  bool few_ = false;     // lanes: vectors run along features then
  bool counts_ = false;  // whether some lane looks for its largest keys
  const MatrixEngine* engine_ = nullptr;
  int64_t block_keys_, depth_, value_rows_;  // keys that are read together; features, and rows of
                                             // an out^T, with what pads them
  float scale_ = 1;                          // of the engine's scores
  uint16_t* padded_keys_;                    // [keys, features], and
  uint16_t* turned_values_;                  // [value rows, keys], for the engine
  uint32_t* weight_pairs_[2];
  float* scores_[2];
  float* rows_;         // of a vector of lanes
  float* few_queries_;  // [lanes, features]
  float* wide_keys_ = nullptr;
  float* wide_values_ = nullptr;
  Tile<kVectors> tile_[kTiles];
  Candidate<kVectors>* candidates_[kTiles];
};

void Run(const Job& job, const Unit& unit) {
  thread_local Scratch scratch;
  if (unit.rows * unit.batches * unit.heads <= kVector) {  // a few rows, as while generating
    UnitRun<1>(job, unit, scratch).run();
  } else {
    UnitRun<2>(job, unit, scratch).run();
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
