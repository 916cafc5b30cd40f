#pragma once

#include "motet/probe/probe.h"
#include "motet/probe/statistic.h"

namespace motet {

/// The entropy of every head and row, and its parts: PCE's diagnosis (arXiv 2412.16545, section 4),
/// in nats.
class EntropyProbe : public Probe {
 public:
  /// Watches rows of this kind.
  explicit EntropyProbe(RowKind kind = RowKind::kQuery) : kind_(kind) {}
  void observe(const Observation& seen) override;

  const RowStatistic& entropy() const { return entropy_; }  ///< between + within
  const RowStatistic& between() const { return between_; }  ///< between prefix, pieces and own
  const RowStatistic& within() const { return within_; }    ///< inside them
  /// The unweighted mean over forward calls of attention, as the paper's code takes it: a call with
  /// one row counts as much as one with a thousand. Equal to `entropy().mean()` where all calls
  /// have as many rows.
  double mean_of_calls() const;

 private:
  RowKind kind_;
  RowStatistic entropy_, between_, within_;
};

}  // namespace motet
