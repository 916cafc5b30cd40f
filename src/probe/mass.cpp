#include "motet/probe/mass.h"

#include <ATen/ATen.h>

namespace motet {

void MassProbe::observe(const Observation& seen) {
  if (seen.kind != kind_) {
    return;
  }
  const auto mass = seen.row.mass();
  mass_.add(seen.layer, mass.slice(3, 0, seen.sets.own() + 1));
  if (seen.sets.has_null()) {
    null_.add(seen.layer, seen.sets.null_in(mass));
  }
  prefix_.add(seen.layer, seen.sets.prefix_in(mass));
  own_.add(seen.layer, seen.sets.own_in(mass));
  top_piece_.add(seen.layer, seen.sets.pieces() > 0 ? seen.sets.pieces_in(mass).amax(3)
                                                    : torch::zeros_like(seen.sets.prefix_in(mass)));
}

}  // namespace motet
