// The gradients of the fused kernel: docs/sparsity.md, over blocks of keys. Scores are
// computed again from what the forward pass kept of each row (lse and entropy); no matrix of
// queries by keys is held. Lanes are rows, as in rows.cpp; the gradients of keys and values
// are sums over the lanes of a unit, and their vectors run along features.

#include "kernel/fused/unit.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/fused/gradients.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first
#include <vector>

#include "kernel/fused/lanes-inl.h"
#include "kernel/fused/scratch.h"
#include "kernel/fused/unit_rows-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// Tiles of a unit, [tiles][keys, lanes] each, of which only some are in use.
struct Tiles {
  const float* data;
  int64_t stride;  // from tile to tile
  const std::vector<int64_t>& active;
};

/// out[i][features] += sum over active tiles and lanes of a[i][lane] b[lane][features], for kCount
/// keys and kVectors vectors of features.
template <int kVectors, int kCount>
HWY_INLINE void AddOuter(const Tiles& a, const float* HWY_RESTRICT b, int64_t lanes, int64_t stride,
                         float* HWY_RESTRICT out) {
  Lanes<kVectors> sum[kCount];
#pragma GCC unroll 24
  for (int i = 0; i < kCount; ++i) {
    sum[i] = LoadLanes<kVectors>(out + i * stride);
  }
  for (const auto t : a.active) {
    const auto* of_tile = a.data + t * a.stride;
    AddProducts<kVectors, kCount>(of_tile, lanes, 1, lanes, b + t * lanes * stride, stride,
                                  of_tile + kCount * lanes, kCacheLine, sum);
  }
#pragma GCC unroll 24
  for (int i = 0; i < kCount; ++i) {
    StoreLanes(sum[i], out + i * stride);
  }
}

class GradientsRun {
 public:
  static constexpr int kVectors = 2;
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;
  static constexpr int64_t kTiles = kUnitLanes / kLanes;

  GradientsRun(const Job& job, const GradientJob& gradient, const Unit& unit, Scratch& scratch)
      : job_(job),
        gradient_(gradient),
        unit_(unit),
        lanes_(LanesOf(unit)),
        tiles_((lanes_ + kLanes - 1) / kLanes),
        out_(gradient.out.data != nullptr) {
    const auto stride = gradient.stride, value_stride = gradient.value_stride;
    scratch.reset();
    weights_ = scratch.take(tiles_ * kBlockKeys * kLanes);
    slopes_ = scratch.take(tiles_ * kBlockKeys * kLanes);
    query_rows_ = scratch.take(tiles_ * kLanes * stride);
    out_rows_ = scratch.take(out_ ? tiles_ * kLanes * value_stride : 0);
    wide_keys_ = scratch.take(kBlockKeys * stride);
    wide_values_ = scratch.take(kBlockKeys * value_stride);
    rows_ = scratch.take(kVector * std::max(job.features, job.value_features));
    for (int64_t t = 0; t < tiles_; ++t) {
      auto& tile = tile_[t];
      tile.query = scratch.take(job.features * kLanes);
      tile.query_gradient = scratch.take(job.features * kLanes);
      tile.kept = scratch.take(job.log_weight != nullptr ? job.features * kLanes : 0);
      tile.out_gradient = scratch.take(out_ ? job.value_features * kLanes : 0);
      tile.lanes = std::min(kLanes, lanes_ - t * kLanes);
      tile.any = false;
      begin_rows(t);
    }
  }

  void run() {
    double factor = 0;
    for (const auto& span : unit_.spans) {
      if (span.factor != factor) {
        factor = span.factor;
        for (int64_t t = 0; t < tiles_; ++t) {
          LayOut<kVectors>(job_.element, job_.query, job_.features, tile_[t].place, tile_[t].lanes,
                           ScaleOf(job_, factor), rows_, tile_[t].query);
        }
      }
      for (int64_t t = 0; t < tiles_; ++t) {
        begin_span(span, t);
      }
      see(span);
      for (int64_t t = 0; t < tiles_; ++t) {
        if (some_drop(tile_[t])) {
          leave_dropped(tile_[t]);
        }
      }
      end_span(span.set);
    }
    finish();
  }

 private:
  struct Tile {
    float* query;           // [features, lanes], times scale and log2(e)
    float* query_gradient;  // [features, lanes], but for the scale
    float* kept;            // query_gradient before the current span, where some lanes drop it
    float* out_gradient;    // [value features, lanes]
    Place place[kLanes];
    int64_t lanes;
    bool any, kept_any;    // whether query_gradient holds something, and `kept`
    int64_t seen[kLanes];  // keys of the current span that a lane sees
    int64_t fewest, most;  // of them all
    // Of each row: ds = p (out_gradient.v + constant - d_entropy ln p + d_mass where s >=
    // top_threshold), with p = 2^(s - lse).
    alignas(64) float lse[kLanes], constant[kLanes], d_entropy[kLanes], threshold[kLanes];
    alignas(64) float d_mass[kLanes], top_threshold[kLanes];
    // The same of the current set, and its keys.
    alignas(64) float set_lse[kLanes], set_constant[kLanes], set_d_entropy[kLanes];
    alignas(64) float shift[kLanes], sum[kLanes];
  };

  static float Finite(float lse) { return lse == -kInfinity ? 0 : lse; }

  void begin_rows(int64_t t) {
    auto& tile = tile_[t];
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      tile.lse[lane] = tile.constant[lane] = tile.d_entropy[lane] = tile.threshold[lane] = 0;
      tile.d_mass[lane] = tile.top_threshold[lane] = 0;
      auto* query = query_rows_ + (t * kLanes + lane) * gradient_.stride;
      auto* out = out_rows_ + (t * kLanes + lane) * gradient_.value_stride;
      std::fill_n(query, gradient_.stride, 0.0F);
      if (out_) {
        std::fill_n(out, gradient_.value_stride, 0.0F);
      }
      if (lane >= tile.lanes) {
        continue;
      }
      const auto at = tile.place[lane] = PlaceOf(job_, unit_, t * kLanes + lane);
      const auto entropy = gradient_.d_entropy != nullptr ? gradient_.d_entropy[at.index] : 0;
      tile.lse[lane] = Finite(job_.lse[at.index]) * kLog2e;
      tile.d_entropy[lane] = entropy * kLn2;
      tile.constant[lane] =
          gradient_.constant[at.index] - (entropy == 0 ? 0 : entropy * job_.entropy[at.index]);
      if (job_.threshold != nullptr) {
        tile.threshold[lane] = job_.threshold[at.index] * kLog2e;
      }
      if (gradient_.d_mass != nullptr) {
        tile.d_mass[lane] = gradient_.d_mass[at.index];
        tile.top_threshold[lane] = job_.top_threshold[at.index] * kLog2e;
      }
      const auto copy = [&](const View& view, int64_t features, float scale, float* to) {
        CopyRow(view, job_.element, at, features, to);
        for (int64_t f = 0; f < features; ++f) {
          to[f] *= scale;
        }
      };
      copy(job_.query, job_.features, static_cast<float>(job_.scale), query);
      if (out_) {
        copy(gradient_.out, job_.value_features, 1, out);
      }
    }
    if (out_) {
      LayOut<kVectors>(job_.element, gradient_.out, job_.value_features, tile.place, tile.lanes, 1,
                       rows_, tile.out_gradient);
    }
  }

  void begin_span(const UnitSpan& span, int64_t t) {
    auto& tile = tile_[t];
    tile.fewest = std::numeric_limits<int64_t>::max();
    tile.most = 0;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      tile.seen[lane] = 0;
      tile.shift[lane] = tile.sum[lane] = 0;
      tile.set_lse[lane] = tile.set_constant[lane] = tile.set_d_entropy[lane] = 0;
      if (lane >= tile.lanes) {
        continue;
      }
      const auto index = tile.place[lane].index * job_.sets + span.set;
      const auto shift = job_.log_weight != nullptr ? job_.log_weight[index] : 0;
      const auto seen =
          shift == -kInfinity ? 0 : KeysSeen(span, tile.place[lane].row - unit_.first_row);
      tile.shift[lane] = Finite(shift) * kLog2e;
      tile.seen[lane] = seen;
      tile.fewest = std::min(tile.fewest, seen);
      tile.most = std::max(tile.most, seen);
      if (gradient_.of_sets) {
        const auto entropy =
            gradient_.d_set_entropy != nullptr ? gradient_.d_set_entropy[index] : 0;
        const auto lse = gradient_.d_set_lse != nullptr ? gradient_.d_set_lse[index] : 0;
        tile.set_lse[lane] = Finite(job_.set_lse[index]) * kLog2e;
        tile.set_d_entropy[lane] = entropy * kLn2;
        tile.set_constant[lane] = lse - (entropy == 0 ? 0 : entropy * job_.set_entropy[index]);
      }
    }
    tile.kept_any = tile.any;
    if (some_drop(tile) && tile.any) {
      std::copy_n(tile.query_gradient, job_.features * kLanes, tile.kept);
    }
  }

  /// Whether some lanes drop the current span, which others see.
  bool some_drop(const Tile& tile) const {
    return job_.log_weight != nullptr && tile.fewest == 0 && tile.most > 0;
  }

  /// Lanes that drop the span take nothing from it: its keys may be NaN, and 0 * NaN is NaN.
  void leave_dropped(Tile& tile) const {
    for (int64_t lane = 0; lane < tile.lanes; ++lane) {
      for (int64_t f = 0; tile.seen[lane] == 0 && f < job_.features; ++f) {
        const auto at = f * kLanes + lane;
        tile.query_gradient[at] = tile.kept_any ? tile.kept[at] : 0;
      }
    }
  }

  void see(const UnitSpan& span) {
    int64_t most = 0;
    for (int64_t t = 0; t < tiles_; ++t) {
      most = std::max(most, tile_[t].most);
    }
    for (int64_t first = 0; first < most; first += kBlockKeys) {
      const auto block = std::min(kBlockKeys, most - first);
      const auto keys = ReadRows(span.keys, job_.element, span.key_stride, first, block,
                                 job_.features, wide_keys_);
      Rows values{nullptr, 0};
      if (out_) {
        values = ReadRows(span.values, job_.element, span.value_stride, first, block,
                          job_.value_features, wide_values_);
      }
      active_.clear();
      for (int64_t t = 0; t < tiles_; ++t) {
        const auto count = std::min(block, tile_[t].most - first);
        if (count > 0) {
          active_.push_back(t);
          see_block(tile_[t], t, span, keys, values, first, count);
          std::fill(weights_of(t) + count * kLanes, weights_of(t) + block * kLanes, 0.0F);
          std::fill(slopes_of(t) + count * kLanes, slopes_of(t) + block * kLanes, 0.0F);
        }
      }
      add_outer(slopes_, block, query_rows_, gradient_.stride,
                span.key_gradient + first * gradient_.stride);
      if (out_) {
        add_outer(weights_, block, out_rows_, gradient_.value_stride,
                  span.value_gradient + first * gradient_.value_stride);
      }
    }
  }

  float* weights_of(int64_t t) const { return weights_ + t * kBlockKeys * kLanes; }
  float* slopes_of(int64_t t) const { return slopes_ + t * kBlockKeys * kLanes; }

  /// Weights p and slopes ds of a tile's block, and what they add to the gradient of its queries.
  void see_block(Tile& tile, int64_t t, const UnitSpan& span, const Rows& keys, const Rows& values,
                 int64_t first, int64_t count) {
    auto *weights = weights_of(t), *slopes = slopes_of(t);
    Multiply<kVectors>(keys.data, keys.stride, count, tile.query, job_.features, weights);
    if (out_) {
      Multiply<kVectors>(values.data, values.stride, count, tile.out_gradient, job_.value_features,
                         slopes);
    } else {
      std::fill_n(slopes, count * kLanes, 0.0F);
    }
    const bool hidden = tile.fewest < first + count || job_.threshold != nullptr;
    const auto differentiate_with = [&]<bool kMass>() HWY_ATTR {
      if (gradient_.of_sets) {
        differentiate<true, true, kMass>(tile, span, first, count, weights, slopes);
      } else if (hidden) {
        differentiate<true, false, kMass>(tile, span, first, count, weights, slopes);
      } else {
        differentiate<false, false, kMass>(tile, span, first, count, weights, slopes);
      }
    };
    if (gradient_.d_mass != nullptr) {
      differentiate_with.template operator()<true>();
    } else {
      differentiate_with.template operator()<false>();
    }
    MultiplyTransposed<kVectors>(keys.data, keys.stride, count, slopes, tile.any, job_.features,
                                 tile.query_gradient);
    tile.any = true;
  }

  /// weights: scores, then p. slopes: d_out.v, then ds times the set's factor.
  template <bool kHidden, bool kSets, bool kMass>
  void differentiate(Tile& tile, const UnitSpan& span, int64_t first, int64_t count,
                     float* HWY_RESTRICT weights, float* HWY_RESTRICT slopes) const {
    const D d;
    const auto factor = hn::Set(d, static_cast<float>(span.factor));
    // Key 0, where it does not count, is in T whatever its score.
    const int64_t free = !job_.counts_first && span.first_key + first == 0 ? 0 : -1;
    alignas(64) float of_block[kLanes];
    SeenOfBlock(tile.seen, first, count, of_block);
    for (int64_t at = 0; at < kLanes; at += kVector) {
      const auto load = [&](const float* from) HWY_ATTR { return hn::Load(d, from + at); };
      const auto shift = load(tile.shift), seen = load(of_block);
      const auto least = hn::Sub(load(tile.threshold), shift);
      const auto d_mass = load(tile.d_mass), top_threshold = load(tile.top_threshold);
      const auto lse = hn::Sub(load(tile.lse), shift);
      const auto constant = load(tile.constant), d_entropy = load(tile.d_entropy);
      const auto set_lse = hn::Sub(load(tile.set_lse), shift);
      const auto set_constant = load(tile.set_constant);
      const auto set_d_entropy = load(tile.set_d_entropy);
      auto sum = load(tile.sum);
      for (int64_t j = 0; j < count; ++j) {
        const auto s = hn::Load(d, weights + j * kLanes + at);
        const auto log_p = hn::Sub(s, lse);
        auto p = Exp2(log_p);
        auto slope = hn::Add(hn::Load(d, slopes + j * kLanes + at), constant);
        if (kMass) {
          auto inside = hn::Ge(hn::Add(s, shift), top_threshold);
          if (j == free) {
            inside = hn::FirstN(d, kVector);
          }
          slope = hn::Add(slope, hn::IfThenElseZero(inside, d_mass));
        }
        auto ds = hn::Mul(p, hn::NegMulAdd(d_entropy, log_p, slope));
        if (kSets) {
          const auto log_set = hn::Sub(s, set_lse);
          ds = hn::MulAdd(Exp2(log_set), hn::NegMulAdd(set_d_entropy, log_set, set_constant), ds);
        }
        if (kHidden) {
          auto hidden = hn::Ge(hn::Set(d, static_cast<float>(j)), seen);
          if (job_.threshold != nullptr) {
            hidden = hn::Or(hidden, hn::Lt(s, least));
          }
          p = hn::IfThenZeroElse(hidden, p);
          ds = hn::IfThenZeroElse(hidden, ds);
        }
        sum = hn::Add(sum, ds);
        hn::Store(p, d, weights + j * kLanes + at);
        hn::Store(hn::Mul(ds, factor), d, slopes + j * kLanes + at);
      }
      hn::Store(sum, d, tile.sum + at);
    }
  }

  /// to[key][features] += the active tiles' from[key][lanes] times rows[lanes][features].
  void add_outer(const float* from, int64_t count, const float* rows, int64_t stride, float* to) {
    const Tiles tiles{from, kBlockKeys * kLanes, active_};
    for (int64_t f = 0; f < stride; f += kLanes) {
      InSteps<kSums / kVectors>(count, [&]<int kCount>(int64_t key) HWY_ATTR {
        const Tiles here{tiles.data + key * kLanes, tiles.stride, tiles.active};
        AddOuter<kVectors, kCount>(here, rows + f, kLanes, stride, to + key * stride + f);
      });
    }
  }

  void end_span(int64_t set) {
    if (gradient_.d_log_weight == nullptr) {
      return;
    }
    for (int64_t t = 0; t < tiles_; ++t) {
      for (int64_t lane = 0; lane < tile_[t].lanes; ++lane) {
        gradient_.d_log_weight[tile_[t].place[lane].index * job_.sets + set] += tile_[t].sum[lane];
      }
    }
  }

  void finish() {
    const auto scale = static_cast<float>(job_.scale);
    for (int64_t t = 0; t < tiles_; ++t) {
      for (int64_t lane = 0; tile_[t].any && lane < tile_[t].lanes; ++lane) {
        auto* to = gradient_.d_query + tile_[t].place[lane].index * job_.features;
        for (int64_t f = 0; f < job_.features; ++f) {
          to[f] = tile_[t].query_gradient[f * kLanes + lane] * scale;
        }
      }
    }
  }

  const Job& job_;
  const GradientJob& gradient_;
  const Unit& unit_;
  int64_t lanes_, tiles_;
  bool out_;
  float *weights_, *slopes_, *query_rows_, *out_rows_, *wide_keys_, *wide_values_, *rows_;
  std::vector<int64_t> active_;
  Tile tile_[kTiles];
};

void RunGradients(const Job& job, const GradientJob& gradient, const Unit& unit) {
  thread_local Scratch scratch;
  GradientsRun(job, gradient, unit, scratch).run();
}

/// Floats of a row of gradients: whole tiles, whose last features stay 0.
int64_t Stride(int64_t features) {
  constexpr auto kStep = Lanes<GradientsRun::kVectors>::kCount;
  return (features + kStep - 1) / kStep * kStep;
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#if HWY_ONCE
namespace motet::fused {

GradientCode gradient_code(InstructionSet set) {
  return {MOTET_PICK(set, fused, RunGradients), MOTET_PICK(set, fused, Stride)};
}

}  // namespace motet::fused
#endif  // HWY_ONCE
