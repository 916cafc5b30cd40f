#pragma once

#include <torch/types.h>

#include <vector>

#include "motet/probe/probe.h"
#include "motet/probe/statistic.h"

namespace motet {

/// How many keys compete with the best one: those whose effective score lies within a gap of the
/// row's largest, for several gaps. After Karakida & Hayase 2026, arXiv 2605.12697, where this
/// count, as a function of the gap, fixes the inverse temperature at which a row's attention
/// concentrates. It looks at every probability, some rows at a time.
class NearKeysProbe : public Probe {
 public:
  /// `gaps` in nats. Throws Error for one that is negative or not finite, and for none.
  explicit NearKeysProbe(std::vector<double> gaps = {1, 2, 4});
  ProbeNeeds needs() const override { return {.rows = true, .query_keys_values = true}; }
  void observe(const Observation& seen) override;

  const std::vector<double>& gaps() const { return gaps_; }  ///< as given
  /// Keys within each gap, the best one among them, [..., gaps].
  const RowStatistic& keys() const { return keys_; }

 private:
  std::vector<double> gaps_;
  RowStatistic keys_;
};

}  // namespace motet
