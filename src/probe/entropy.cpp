#include "motet/probe/entropy.h"

namespace motet {

void EntropyProbe::observe(const Observation& seen) {
  if (seen.kind != kind_) {
    return;
  }
  entropy_.add(seen.layer, seen.row.entropy);
  between_.add(seen.layer, seen.parts().between);
  within_.add(seen.layer, seen.parts().within);
}

double EntropyProbe::mean_of_calls() const { return entropy_.mean_of_passes(); }

}  // namespace motet
