#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "motet/probe/probe.h"
#include "motet/probe/statistic.h"

namespace motet {

/// Whether attention finds the pieces that hold an answer.
class GoldProbe : public Probe {
 public:
  /// `gold` are the pieces, from 0; none: nothing is looked at.
  explicit GoldProbe(std::vector<int64_t> gold) : gold_(std::move(gold)) {}
  ProbeNeeds needs() const override { return {.rows = !gold_.empty()}; }
  void observe(const Observation& seen) override;

  bool looks() const { return !gold_.empty(); }
  const RowStatistic& mass() const { return mass_; }  ///< of these pieces together
  const RowStatistic& best() const { return best_; }  ///< 1 where the piece with the most is one
  const RowStatistic& kept() const { return kept_; }  ///< 1 where the reading keeps one of them

 private:
  std::vector<int64_t> gold_;
  RowStatistic mass_, best_, kept_;
};

}  // namespace motet
