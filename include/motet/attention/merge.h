#pragma once

#include <torch/types.h>

#include <vector>

#include "motet/attention/rows.h"

namespace motet {

/// The row over the union of disjoint parts, each with its log weight: exact, associative, free of
/// order. `log_weights`: one for each part, broadcast to [batch, heads, query]; none means 0 for
/// all. Sets are laid end to end; `join` is for parts of the same sets. Rabe & Staats 2021, arXiv
/// 2112.05682, with entropies by their chain rule (docs/rows.md). Differentiable. Throws Error when
/// there is no part, their shapes differ, or a part has a top_mass: that of the whole does not
/// follow from those of the parts.
Row merge(const std::vector<Row>& parts, const std::vector<torch::Tensor>& log_weights = {});

/// The row over the keys of all parts, each of which has some keys of the same sets: those of one
/// host, for instance. Exact, associative, free of order; set by set as `merge` is for the row, and
/// set_top has the largest scores of all. Differentiable but for set_top. Throws Error when there
/// is no part, shapes differ, a figure is there in one part and not in another, or a part has a
/// top_mass.
Row join(const std::vector<Row>& parts);

}  // namespace motet
