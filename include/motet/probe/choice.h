#pragma once

#include "motet/probe/probe.h"
#include "motet/probe/statistic.h"

namespace motet {

/// How the pieces that a reading keeps agree with an exact choice of as many for the same row:
/// those with the largest sums of their five largest probabilities, as Select makes it. It scores
/// all keys anew. Rows from which a layer's window hides every piece are left out: where layers
/// differ in that, only means can be had.
class ChoiceProbe : public Probe {
 public:
  ProbeNeeds needs() const override { return {.rows = true, .query_keys_values = true}; }
  void observe(const Observation& seen) override;

  /// The share of the exactly chosen pieces that were kept, 1 for a row that keeps all. Empty where
  /// the reading decides about no piece.
  const RowStatistic& recall() const { return recall_; }
  /// The share of the pieces' mass in ordinary reading that lies in what was kept.
  const RowStatistic& mass() const { return mass_; }

 private:
  RowStatistic recall_, mass_;
};

}  // namespace motet
