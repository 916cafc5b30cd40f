#include "motet/probe/entropy.h"

namespace motet {

void EntropyProbe::observe(const Observation& seen) {
  if (seen.kind != kind_) {
    return;
  }
  const auto& row = seen.row;
  entropy_.add(seen.layer, row.entropy);
  const auto parts = row.parts();
  between_.add(seen.layer, parts.between);
  within_.add(seen.layer, parts.within);
}

double EntropyProbe::mean_of_calls() const { return entropy_.mean_of_passes(); }

}  // namespace motet
