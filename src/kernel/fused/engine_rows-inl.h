// Rows by a matrix engine: both products of bf16 are its own, and the weights are rounded to bf16;
// the statistics are of what they were before. Included once for each instruction set by Highway.

#if defined(MOTET_ATTENTION_ENGINE_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_ENGINE_ROWS_INL_H_
#undef MOTET_ATTENTION_ENGINE_ROWS_INL_H_
#else
#define MOTET_ATTENTION_ENGINE_ROWS_INL_H_
#endif

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>

#include "kernel/fused/engine_blocks-inl.h"
#include "kernel/fused/scratch.h"
#include "kernel/fused/tile-inl.h"
#include "kernel/fused/unit.h"
#include "kernel/fused/unit_rows-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// The path by an engine. One that is apart multiplies for some tiles while vectors make the
/// weights of others.
template <int kVectorsOfTile>
class EngineRows {
 public:
  static constexpr int kVectors = kVectorsOfTile;
  static constexpr int64_t kKeys = kEngineKeys;
  using Tiles = std::span<Tile<kVectors>>;

  static int64_t value_rows(const Job& job) { return RoundedUp(job.value_features, kEngineRows); }

  EngineRows(const Job& job, const Unit&, Tiles tiles, Scratch& scratch)
      : job_(job), tiles_(tiles), session_(*job.engine) {
    for (auto& block : block_) {
      block.scores = scratch.take(kKeys * kLanes);
      block.pairs = scratch.take<uint32_t>(kKeys / 2 * kLanes);
    }
    padded_keys_ = scratch.take<uint16_t>(kKeys * depth());
    turned_values_ = scratch.take<uint16_t>(value_rows(job) * kKeys);
    for (std::size_t t = 0; t < tiles.size(); ++t) {
      query_[t] = scratch.take<uint32_t>(depth() / 2 * kLanes);
    }
  }

  /// Lays queries out as they are, or their negatives: scores are scaled later, by no less than 0.
  void lay_out_query(double factor) {
    const auto scale = ScaleOf(job_, factor);
    scale_ = scale == 0 ? 1 : std::fabs(scale);
    for (std::size_t t = 0; t < tiles_.size(); ++t) {
      LayOutPairs<kVectors>(job_.query, job_.features, tiles_[t].place,
                            scale == 0 ? 0 : tiles_[t].lanes, scale < 0, padded_keys_, query_[t]);
    }
  }

  /// Computes a block of keys.
  void see(const UnitSpan& span, int64_t first, int64_t count) {
    const auto rows_of = [&](const void* data, int64_t stride) {
      return NarrowRows{static_cast<const uint16_t*>(data) + first * stride, stride};
    };
    const auto keys =
        PadRows(rows_of(span.keys, span.key_stride), count, job_.features, padded_keys_);
    if (job_.value_features > 0) {
      TransposeRows(rows_of(span.values, span.value_stride), count, job_.value_features,
                    turned_values_);
    }
    job_.engine->is_apart ? see_beside(keys, first, count) : see_in_turn(keys, first, count);
  }

  void end_set(Tile<kVectors>& tile) const {
    for (int64_t i = 0; i < job_.top * kLanes; ++i) {
      tile.top[i] *= scale_;
    }
  }

  void end() const {}

 private:
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;
  static_assert(kLanes == kEngineLanes);

  /// The time in which the engine may be used.
  class Session {
   public:
    explicit Session(const MatrixEngine& engine) : engine_(engine) { engine.begin(); }
    ~Session() { engine_.end(); }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

   private:
    const MatrixEngine& engine_;
  };

  /// A tile's scores of a block, and its weights. There are two, by turns: the engine makes the
  /// scores of one tile and takes the weights of another.
  struct Block {
    float* scores;    // [keys, lanes]
    uint32_t* pairs;  // [keys / 2, lanes]
  };

  /// How many keys of a block a tile's lanes see at most.
  int64_t count_of(int64_t t, int64_t first, int64_t count) const {
    return std::min(count, tiles_[t].most - first);
  }

  /// The engine multiplies what the next tile's scores and the last tile's out need while a tile's
  /// weights are made.
  void see_beside(const NarrowRows& keys, int64_t first, int64_t count) {
    const auto end = static_cast<int64_t>(tiles_.size());
    const auto next = [&](int64_t t) {
      while (t < end && count_of(t, first, count) <= 0) {
        ++t;
      }
      return t;
    };
    EngineQueue queue(*job_.engine);
    int now = 0;        // which block is the tile's
    int64_t last = -1;  // the tile whose values wait
    const auto add_scores = [&](int64_t t, int block) {
      if (t < end) {
        queue.add(score_product(keys, t, count_of(t, first, count), block_[block].scores));
      }
    };
    const auto add_values = [&]() {
      if (last >= 0) {
        add_value_product(tiles_[last], count_of(last, first, count), block_[1 - now], queue);
      }
    };
    auto t = next(0);
    add_scores(t, now);
    queue.finish();
    while (t < end) {
      const auto after = next(t + 1);
      add_scores(after, 1 - now);
      add_values();
      weigh(tiles_[t], first, count_of(t, first, count), block_[now], queue);
      queue.finish();
      last = t;
      t = after;
      now = 1 - now;
    }
    add_values();
    queue.finish();
  }

  /// A tile after the other, whose scores and weights stay near.
  void see_in_turn(const NarrowRows& keys, int64_t first, int64_t count) {
    EngineQueue queue(*job_.engine);
    const auto& block = block_[0];
    for (std::size_t t = 0; t < tiles_.size(); ++t) {
      const auto of_tile = count_of(t, first, count);
      if (of_tile > 0) {
        queue.add(score_product(keys, t, of_tile, block.scores));
        queue.finish();
        weigh(tiles_[t], first, of_tile, block, queue);
        add_value_product(tiles_[t], of_tile, block, queue);
        queue.finish();
      }
    }
  }

  int64_t depth() const { return RoundedUp(job_.features, kEngineDepth); }

  EngineProduct score_product(const NarrowRows& keys, int64_t t, int64_t count,
                              float* scores) const {
    return {.a = keys.data,
            .stride = keys.stride,
            .b = query_[t],
            .rows = RoundedUp(count, kEngineRows),
            .depth = depth(),
            .add = false,
            .out = scores};
  }

  /// The tile has seen the block then.
  void add_value_product(Tile<kVectors>& tile, int64_t count, const Block& block,
                         EngineQueue& queue) const {
    if (job_.value_features > 0) {
      queue.add({.a = turned_values_,
                 .stride = kKeys,
                 .b = block.pairs,
                 .rows = value_rows(job_),
                 .depth = RoundedUp(count, kEngineDepth),
                 .add = tile.set.any,
                 .out = tile.set.out});
    }
    tile.set.any = true;
  }

  /// Makes weights of a tile's scores, as Weigh does, beside the engine. The scores and the largest
  /// of them are yet to be scaled.
  void weigh(Tile<kVectors>& tile, int64_t first, int64_t count, const Block& block,
             EngineQueue& queue) const {
    const auto steps = queue.steps(), calls = count / kGroupKeys + 1;
    int64_t call = 0;
    const auto between = [&]() HWY_ATTR {  // as many steps as are due by now
      queue.advance(queue.steps() - steps * (calls - ++call) / calls);
    };
    between();
    const bool hidden = Hides(job_, tile, first, count);
    auto most = hidden ? Hide<kVectors, false>(tile, first, count, block.scores)
                       : LargestScores<kVectors>(block.scores, count);
    if (job_.top > 0) {
      KeepLargest<kVectors>(block.scores, count, job_.top, tile.top);
    }
    for (int v = 0; v < kVectors; ++v) {
      most.v[v] = hn::Mul(most.v[v], hn::Set(D(), scale_));
    }
    Raise(tile.set, most, job_.value_features);
    WithFlags(job_, hidden, [&]<bool kHidden, bool kEntropy>() HWY_ATTR {
      PairWeights<kVectors, kHidden, kEntropy>(tile.set.sums, scale_, count, block.scores, between,
                                               block.pairs);
    });
  }

  const Job& job_;
  const Tiles tiles_;
  const Session session_;
  float scale_ = 1;  // of scores
  Block block_[2];
  uint16_t* padded_keys_;                   // [keys, depth]
  uint16_t* turned_values_;                 // [value rows, keys]
  uint32_t* query_[Tile<kVectors>::kMost];  // pairs of features, [depth / 2, lanes]
};

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
