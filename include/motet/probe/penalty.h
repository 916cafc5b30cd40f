#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "motet/attention/rows.h"
#include "motet/probe/observation.h"

namespace motet {

/// What a penalty must be given of a layer's rows; nothing else is computed for it.
struct PenaltyNeeds {
  bool rows = false;      ///< out, lse and the lse of each set, which are there anyway
  bool entropy = false;   ///< and entropies
  KeyBudget budget = {};  ///< and top_mass

  /// Whether anything is needed.
  bool any() const { return rows || entropy || budget.wanted(); }
};

/// The rows of one call of attention, still differentiable.
struct PenaltyRows {
  int64_t layer;                                   ///< counted from 0
  RowKind kind;                                    ///< the context's or the query's
  const Row& row;                                  ///< merged, as attention gave it
  const KeySets& sets;                             ///< what the rows see
  const std::optional<torch::Tensor>& log_weight;  ///< as in Reading::decide
};

/// A figure of attention rows that a training loss adds: where a probe watches, a penalty takes
/// part in the gradient. `forward` gives it the rows of every layer (ForwardOptions::penalty).
class RowPenalty {
 public:
  virtual ~RowPenalty() = default;
  /// Of one layer of `layers`; nothing where that layer goes free.
  virtual PenaltyNeeds needs(int64_t layer, int64_t layers) const = 0;
  /// What these rows add to their layer's figure: a tensor of the same shape whatever the rows.
  /// Depends on nothing but the rows, because a block that is computed again in the backward pass
  /// calls it again.
  virtual torch::Tensor measure(const PenaltyRows& rows) const = 0;
  /// Takes the figures of a pass, of all its layers in order; undefined where a layer goes free.
  virtual void collect(const std::vector<torch::Tensor>& layers) = 0;
};

}  // namespace motet
