#pragma once

#include "motet/probe/probe.h"
#include "motet/probe/statistic.h"

namespace motet {

/// The probability of the prefix, of each piece, of own keys, and of the null set where there is
/// one. Sets as in Observation.
class MassProbe : public Probe {
 public:
  /// Watches rows of this kind.
  explicit MassProbe(RowKind kind = RowKind::kQuery) : kind_(kind) {}
  ProbeNeeds needs() const override { return {.rows = true}; }
  void observe(const Observation& seen) override;

  const RowStatistic& mass() const { return mass_; }      ///< of sets with keys, [..., sets]
  const RowStatistic& prefix() const { return prefix_; }  ///< of the prefix
  const RowStatistic& own() const { return own_; }        ///< of own keys
  const RowStatistic& null() const { return null_; }      ///< of the null set; empty without one
  /// Of the piece with the most; 0 without pieces.
  const RowStatistic& top_piece() const { return top_piece_; }

 private:
  RowKind kind_;
  RowStatistic mass_, prefix_, own_, null_, top_piece_;
};

}  // namespace motet
