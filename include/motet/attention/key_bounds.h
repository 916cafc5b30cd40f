#pragma once

#include <torch/types.h>

#include "motet/attention/key_estimate.h"

namespace motet {

/// The smallest and the largest of each feature over keys: a box that holds them all. Quest, Tang
/// et al. 2024, arXiv 2406.10774.
struct KeyBounds {
  torch::Tensor low;   ///< [batch, kv_heads, features]; undefined without keys
  torch::Tensor high;  ///< the same

  /// That of the keys of both. Throws Error where their shapes differ.
  KeyBounds& operator+=(const KeyBounds& other);
};

/// The bounds of `keys`, [batch, kv_heads, keys, features], in their dtype.
KeyBounds bounds_of(const torch::Tensor& keys);

/// Keys as if each query had one in the best corner of their box.
class BoundedKeys : public KeyEstimate {
 public:
  /// `scale` is that on q.k. `dtype` is what the estimate is computed in: fp32 or float64.
  BoundedKeys(const KeyBounds& bounds, double scale, torch::ScalarType dtype);

  /// No score is larger: sum_i max(q_i low_i, q_i high_i) times the scale.
  torch::Tensor log_mass(const torch::Tensor& query) const override;

 private:
  torch::Tensor low_, high_;  // scaled, [batch, kv_heads, features, 1]; undefined without keys
  torch::ScalarType dtype_;
};

}  // namespace motet
