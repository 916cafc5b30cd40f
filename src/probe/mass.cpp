#include "motet/probe/mass.h"

#include <ATen/ATen.h>

namespace motet {

void MassProbe::observe(const Observation& seen) {
  if (seen.kind != kind_) {
    return;
  }
  const auto mass = seen.row.mass();
  const auto own = mass.size(3) - 1;
  mass_.add(seen.layer, mass);
  prefix_.add(seen.layer, mass.select(3, 0));
  own_.add(seen.layer, mass.select(3, own));
  top_piece_.add(seen.layer,
                 own > 1 ? mass.slice(3, 1, own).amax(3) : torch::zeros_like(mass.select(3, 0)));
}

}  // namespace motet
