#include "motet/probe/observation.h"

#include "attention/infinity.h"
#include "motet/attention/probabilities.h"
#include "reading/null_rows.h"

namespace motet {

const RowParts& Observation::parts() const {
  if (!known_parts) {
    known_parts = row.parts();
  }
  return *known_parts;
}

std::optional<torch::Tensor> Observation::kept_pieces() const {
  if (bulk) {
    return bulk->read();
  }
  return log_weight ? std::optional(sets.pieces_in(*log_weight) != -kInfinity) : std::nullopt;
}

torch::Tensor Observation::probabilities_of(const std::vector<int64_t>& rows) const {
  const RowOptions options{.rule = rule, .factor = factor, .threshold = threshold};
  return bulk ? motet::probabilities(query, keys, bulk->sets.all, bulk->log_weight, row.lse, rows,
                                     options)
              : motet::probabilities(query, keys, *visible, of_keys(log_weight, *visible), row.lse,
                                     rows, options);
}

}  // namespace motet
