#pragma once

#include <torch/types.h>

#include "motet/probe/probe.h"
#include "motet/reading/key_source.h"
#include "motet/reading/read_rows.h"

namespace motet {

/// Shows the rows of one layer to the probes, each of what it needs. `seen` holds what is known
/// without them, and `seen.visible` the sets as the reading prepared them.
void show(const Probes& probes, Observation seen, const ReadRows& read, const torch::Tensor& query,
          const LocalKeys& keys);

}  // namespace motet
