#include "motet/probe/mass.h"

#include <ATen/ATen.h>

#include "motet/error.h"

namespace motet {

using torch::Tensor;

void MassProbe::observe(const Observation& seen) {
  if (seen.kind != kind_) {
    return;
  }
  require(all_.empty() || null_ == seen.sets.has_null(), "motet::MassProbe: rows ",
          null_ ? "without" : "with", " a null set after rows ", null_ ? "with" : "without",
          " one; each wants a probe of its own");
  null_ = seen.sets.has_null();
  all_.add(seen.layer, seen.parts().mass);
}

template <class Make>
RowStatistic MassProbe::of_sets(Make make) const {
  return all_.map([&](const Tensor& mass) {
    const auto sets = PieceSets::of_sets(mass.size(3) - (null_ ? 1 : 0));
    return make(mass, null_ ? sets.with_null() : sets);
  });
}

RowStatistic MassProbe::mass() const {
  return of_sets(
      [](const Tensor& mass, const PieceSets& sets) { return mass.slice(3, 0, sets.own() + 1); });
}

RowStatistic MassProbe::prefix() const {
  return of_sets([](const Tensor& mass, const PieceSets& sets) { return sets.prefix_in(mass); });
}

RowStatistic MassProbe::own() const {
  return of_sets([](const Tensor& mass, const PieceSets& sets) { return sets.own_in(mass); });
}

RowStatistic MassProbe::null() const {
  return null_
             ? of_sets([](const Tensor& mass, const PieceSets& sets) { return sets.null_in(mass); })
             : RowStatistic();
}

RowStatistic MassProbe::top_piece() const {
  return of_sets([](const Tensor& mass, const PieceSets& sets) {
    return sets.pieces() > 0 ? sets.pieces_in(mass).amax(3)
                             : torch::zeros_like(sets.prefix_in(mass));
  });
}

}  // namespace motet
