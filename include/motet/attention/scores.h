#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "motet/attention/rows.h"
#include "motet/attention/sets.h"

namespace motet {

/// What is known of a row for each set without touching values.
struct Scores {
  torch::Tensor
      lse;  ///< ln sum_j exp(s_j), [batch, heads, query, sets], nats; -inf for an empty set
  torch::Tensor
      entropy;        ///< inside each set, [batch, heads, query, sets], nats; 0 for an empty set
  torch::Tensor top;  ///< the r largest s_j, falling, [batch, heads, query, sets, r]; -inf where
                      ///< there are fewer
  /// As Row::top_threshold, where a budget was given; otherwise undefined. [batch, heads, query]
  torch::Tensor top_threshold = {};
  torch::Tensor row_lse = {};  ///< of all these sets together, [batch, heads, query], nats
};

/// The scores of rows over sets of keys; see `attend`, whose arguments these are. `top` is how many
/// of the largest scores of each set are wanted (0: none, and `Scores::top` is undefined). `lse`
/// and `entropy` are differentiable, `top` and `top_threshold` are not. Throws Error when the
/// shapes do not fit each other.
Scores score(const torch::Tensor& query, torch::TensorList keys, const KeySets& sets, int64_t top,
             const RowOptions& options = {});

/// The scores over the keys of all parts, each of which has some keys of the same sets: those of
/// one host, for instance. Exact, associative, free of order; `top` has the largest scores of all.
/// Differentiable but for `top`. Throws Error when there is no part, shapes differ, a figure is
/// there in one part and not in another, or a part has a top_threshold: that of the whole does not
/// follow from those of the parts.
Scores join(const std::vector<Scores>& parts);

}  // namespace motet
