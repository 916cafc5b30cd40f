#pragma once

#include <memory>
#include <vector>

#include "motet/probe/observation.h"

namespace motet {

/// What a probe must be shown; nothing else is computed for it.
struct ProbeNeeds {
  bool rows = false;               ///< the merged row with its lse and the lse of each set
  bool entropy = false;            ///< and entropies
  bool query_keys_values = false;  ///< views of q, k and v
  /// Query rows whose probabilities are wanted: a row of the attention matrix for each of them.
  std::vector<int64_t> named_rows = {};
};

/// Watches attention rows as they are computed; never changes what the model computes.
///
/// `observe` is called once for each layer of each pass, in order. What it throws ends the pass.
class Probe {
 public:
  virtual ~Probe() = default;
  /// What `observe` is shown; rows and their entropies, unless overridden.
  virtual ProbeNeeds needs() const { return {.rows = true, .entropy = true}; }
  /// One layer of one pass. What is seen may be kept: it is not written to again.
  virtual void observe(const Observation& seen) = 0;
};

/// The probes of a pass; they outlive it.
using Probes = std::vector<Probe*>;

/// Everything that some probe of `probes` needs.
ProbeNeeds needs_of(const Probes& probes);

}  // namespace motet
