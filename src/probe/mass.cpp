#include "motet/probe/mass.h"

#include <ATen/ATen.h>

#include "motet/error.h"

namespace motet {

using torch::Tensor;

void MassProbe::observe(const Observation& seen) {
  if (seen.kind != kind_) {
    return;
  }
  const auto& sets = seen.sets;
  require(!sets.split(), "motet::MassProbe: bulks are sets of their own; rows want to be joined");
  require(mass_.empty() || sets.has_null() != null_.empty(), "motet::MassProbe: rows ",
          sets.has_null() ? "with" : "without", " a null set after rows ",
          sets.has_null() ? "without" : "with", " one; each wants a probe of its own");
  const auto& mass = seen.parts().mass;
  if (sets.has_null()) {
    mass_.add(seen.layer, mass.slice(3, 0, sets.own() + 1));
    null_.add(seen.layer, sets.null_in(mass));
  } else {
    mass_.add(seen.layer, mass);
  }
}

RowStatistic MassProbe::prefix() const {
  return mass_.map(
      [](const Tensor& mass) { return PieceSets::of_sets(mass.size(3)).prefix_in(mass); });
}

RowStatistic MassProbe::own() const {
  return mass_.map(
      [](const Tensor& mass) { return PieceSets::of_sets(mass.size(3)).own_in(mass); });
}

RowStatistic MassProbe::top_piece() const {
  return mass_.map([](const Tensor& mass) {
    const auto sets = PieceSets::of_sets(mass.size(3));
    return sets.pieces() > 0 ? sets.pieces_in(mass).amax(3)
                             : torch::zeros_like(sets.prefix_in(mass));
  });
}

}  // namespace motet
