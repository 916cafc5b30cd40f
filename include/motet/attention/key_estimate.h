#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

namespace motet {

/// What is guessed of keys without touching one of them.
class KeyEstimate {
 public:
  virtual ~KeyEstimate() = default;
  /// What a query would give to all of them together, as their lse is, in nats; -inf where there
  /// are no keys. `query` is [batch, heads, rows, features]; the result [batch, heads, rows].
  virtual torch::Tensor log_mass(const torch::Tensor& query) const = 0;
};

/// Of several groups of keys.
using KeyEstimates = std::vector<std::shared_ptr<const KeyEstimate>>;

}  // namespace motet
