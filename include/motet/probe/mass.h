#pragma once

#include "motet/probe/probe.h"
#include "motet/probe/statistic.h"

namespace motet {

/// The probability of the prefix, of each piece, of own keys, and of the null set where there is
/// one. Sets as in Observation. `observe` throws Error for rows with a null set after rows without
/// one, and the other way round.
class MassProbe : public Probe {
 public:
  /// Watches rows of this kind.
  explicit MassProbe(RowKind kind = RowKind::kQuery) : kind_(kind) {}
  ProbeNeeds needs() const override { return {.rows = true}; }
  void observe(const Observation& seen) override;

  const RowStatistic& mass() const { return mass_; }  ///< of sets with keys, [..., sets]
  const RowStatistic& null() const { return null_; }  ///< of the null set; empty without one
  RowStatistic prefix() const;                        ///< of the prefix
  RowStatistic own() const;                           ///< of own keys
  RowStatistic top_piece() const;  ///< of the piece with the most; 0 without pieces

 private:
  RowKind kind_;
  RowStatistic mass_, null_;
};

}  // namespace motet
