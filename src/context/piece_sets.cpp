#include "motet/context/piece_sets.h"

#include <ATen/ATen.h>

#include "motet/error.h"

namespace motet {

using torch::Tensor;

PieceSets::PieceSets(int64_t pieces, bool split) : pieces_(pieces), split_(split) {
  require(pieces >= 0, "motet::PieceSets: pieces = ", pieces, "; 0 or more is wanted");
}

PieceSets PieceSets::of_sets(int64_t sets) {
  require(sets >= 2, "motet::PieceSets: ", sets, " sets; there are a prefix and own keys at least");
  return PieceSets(sets - PieceSets().count());
}

PieceSets PieceSets::with_null() const {
  auto sets = *this;
  sets.null_ = true;
  return sets;
}

Tensor PieceSets::prefix_in(const Tensor& x) const { return x.select(3, prefix()); }

Tensor PieceSets::pieces_in(const Tensor& x) const { return x.slice(3, piece(0), piece(pieces_)); }

Tensor PieceSets::own_in(const Tensor& x) const { return x.select(3, own()); }

Tensor PieceSets::bulks_in(const Tensor& x) const {
  require(split_, "motet::PieceSets: pieces that are not split have no bulks");
  return x.slice(3, bulk(0), bulk(pieces_));
}

Tensor PieceSets::null_in(const Tensor& x) const {
  require(null_, "motet::PieceSets: there is no null set");
  return x.select(3, null());
}

}  // namespace motet
