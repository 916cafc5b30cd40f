// The choice that each row makes among sets (see SetChoice). Included once for each instruction set
// by Highway.

#if defined(MOTET_ATTENTION_CHOICE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_CHOICE_INL_H_
#undef MOTET_ATTENTION_CHOICE_INL_H_
#else
#define MOTET_ATTENTION_CHOICE_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "kernel/fused/scratch.h"
#include "kernel/fused/softmax-inl.h"
#include "kernel/fused/tile-inl.h"
#include "kernel/fused/unit.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

/// The sets that a tile's lanes would keep: of each lane, the best so far.
template <int kVectors>
class Choice {
 public:
  static constexpr int64_t kLanes = Lanes<kVectors>::kCount;

  void begin(const Job& job, int64_t value_rows, Scratch& scratch) {
    candidates_ = scratch.take<Candidate>(job.choice.keep);
    for (int64_t k = 0; k < job.choice.keep; ++k) {
      candidates_[k].part.begin(value_rows, scratch);
      std::fill_n(candidates_[k].score, kLanes, -kInfinity);
      std::fill_n(candidates_[k].set, kLanes, -1.0F);
    }
  }

  /// Puts the tile's set in the place of each lane's worst candidate, where it is better. The sum
  /// of a set's largest probabilities orders sets as that of their exponentials.
  void consider(const Job& job, const Tile<kVectors>& tile, int64_t set) {
    const D d;
    for (int64_t at = 0; at < kLanes; at += kVector) {
      const auto mine = Score(job, tile, at);
      const auto worst = find_worst(job.choice.keep, at);
      auto open = hn::Gt(mine, worst.score);  // lanes that still have to put it somewhere
      for (int64_t k = 0; k < job.choice.keep; ++k) {
        auto& candidate = candidates_[k];
        const auto same_score = hn::Eq(hn::Load(d, candidate.score + at), worst.score);
        const auto same_set = hn::Eq(hn::Load(d, candidate.set + at), worst.set);
        const auto here = hn::And(open, hn::And(same_score, same_set));
        if (hn::AllFalse(d, here)) {
          continue;
        }
        open = hn::AndNot(here, open);
        const auto put = [&](V x, float* to) HWY_ATTR {
          hn::Store(hn::IfThenElse(here, x, hn::Load(d, to + at)), d, to + at);
        };
        const auto take = [&](const float* from, float* to)
                              HWY_ATTR { put(hn::Load(d, from + at), to); };
        put(mine, candidate.score);
        put(hn::Set(d, static_cast<float>(set)), candidate.set);
        take(tile.set.sums.reference, candidate.part.sums.reference);
        take(tile.set.sums.weight, candidate.part.sums.weight);
        take(tile.set.sums.moment, candidate.part.sums.moment);
        for (int64_t f = 0; f < job.value_features; ++f) {
          take(tile.set.out + f * kLanes, candidate.part.out + f * kLanes);
        }
        candidate.part.any = true;
      }
    }
  }

  /// Merges the candidates that are left into the tile's rows; all other sets are dropped.
  void end(const Job& job, Tile<kVectors>& tile) {
    for (int64_t lane = 0; lane < tile.lanes; ++lane) {
      const auto first = tile.place[lane].index * job.sets;
      for (auto set = job.choice.first; set < job.choice.first + job.choice.sets; ++set) {
        const bool kept = std::any_of(
            candidates_, candidates_ + job.choice.keep,
            [&](const Candidate& each) { return each.set[lane] == static_cast<float>(set); });
        job.chosen[first + set] = kept ? 0 : -kInfinity;
        if (!kept) {
          job.set_lse[first + set] = -kInfinity;
          if (job.set_entropy != nullptr) {
            job.set_entropy[first + set] = 0;
          }
        }
      }
    }
    for (int64_t k = 0; k < job.choice.keep; ++k) {
      Merge(tile.row, candidates_[k].part, job.value_features);
    }
  }

 private:
  struct Candidate {
    Part<kVectors> part;
    alignas(64) float score[kLanes];  // log2 of its largest probabilities, but for a constant
    alignas(64) float set[kLanes];
  };

  struct Rank {
    V score, set;
  };

  /// The score of a vector of lanes' set.
  static HWY_INLINE V Score(const Job& job, const Tile<kVectors>& tile, int64_t at) {
    const D d;
    const auto none = hn::Set(d, -kInfinity);
    const auto most = hn::Load(d, tile.top + at);
    auto sum = hn::Zero(d);
    for (int64_t r = 0; r < job.top; ++r) {
      const auto x = hn::Load(d, tile.top + r * kLanes + at);
      sum = hn::Add(sum, hn::IfThenZeroElse(hn::Eq(x, none), Exp2(hn::Sub(x, most))));
    }
    const auto score = hn::IfThenElse(hn::Gt(sum, hn::Zero(d)), hn::Add(most, Log2(sum)), none);
    // A set of NaN is kept, so that its rows show it.
    const auto broken = hn::IsNaN(hn::Load(d, tile.set.sums.weight + at));
    return hn::IfThenElse(broken, hn::Set(d, kInfinity), score);
  }

  /// The candidates with the lowest scores, and of equal ones the latest.
  HWY_INLINE Rank find_worst(int64_t keep, int64_t at) const {
    const D d;
    Rank worst{hn::Load(d, candidates_[0].score + at), hn::Load(d, candidates_[0].set + at)};
    for (int64_t k = 1; k < keep; ++k) {
      const auto score = hn::Load(d, candidates_[k].score + at);
      const auto set = hn::Load(d, candidates_[k].set + at);
      const auto worse = hn::Or(hn::Lt(score, worst.score),
                                hn::And(hn::Eq(score, worst.score), hn::Gt(set, worst.set)));
      worst.score = hn::IfThenElse(worse, score, worst.score);
      worst.set = hn::IfThenElse(worse, set, worst.set);
    }
    return worst;
  }

  Candidate* candidates_ = nullptr;
};

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
