#pragma once

#include <torch/types.h>

#include <cstdint>

#include "motet/attention/key_estimate.h"

namespace motet {

/// Sums over keys, from which their mean and covariance follow: additive, so that pieces are joined
/// and keys taken out without touching the others. QAdA, arXiv 2502.09647.
struct KeyMoments {
  int64_t count = 0;  ///< n
  torch::Tensor sum;  ///< sum_j k_j, [batch, kv_heads, features], float64; undefined without keys
  torch::Tensor second;  ///< sum_j k_j k_j^T, its lower half row by row, [batch, kv_heads, features
                         ///< (features + 1) / 2], float64; undefined without keys

  /// Those of the keys of both. Throws Error where their shapes differ.
  KeyMoments& operator+=(const KeyMoments& other);
  /// Those of the keys that `other` does not have: all of its keys must be among these. Throws
  /// Error where there are more of them, and where their shapes differ.
  KeyMoments& operator-=(const KeyMoments& other);

  /// mu = sum / n, [batch, kv_heads, features], float64. Throws Error where there is no key, as do
  /// the next two.
  torch::Tensor mean() const;
  /// Sigma = second / n - mu mu^T, [batch, kv_heads, features, features], float64.
  torch::Tensor covariance() const;
  /// The diagonal of Sigma, [batch, kv_heads, features], float64.
  torch::Tensor variance() const;
};

/// As KeyMoments::operator+=.
KeyMoments operator+(KeyMoments a, const KeyMoments& b);
/// As KeyMoments::operator-=.
KeyMoments operator-(KeyMoments a, const KeyMoments& b);

/// The moments of `keys`, [batch, kv_heads, keys, features] of any floating type.
KeyMoments moments_of(const torch::Tensor& keys);

/// What of a covariance is used.
enum class Covariance {
  kFull,      ///< all of it
  kDiagonal,  ///< variances of features, no correlations
  kNone,      ///< nothing: as if all keys were their mean
};

/// Keys as if they were Gaussian: what a query gives to all of them together, without touching one.
class GaussianKeys : public KeyEstimate {
 public:
  /// `scale` is that on q.k. `dtype` is what the estimate is computed in: fp32 or float64.
  GaussianKeys(const KeyMoments& moments, Covariance covariance, double scale,
               torch::ScalarType dtype);

  /// The mean of a log-normal, n times: ln n + scale q.mu + scale^2 q^T Sigma q / 2. QAdA section
  /// 4; see docs/heads.md.
  torch::Tensor log_mass(const torch::Tensor& query) const override;

 private:
  int64_t count_;
  torch::Tensor mean_;        // scale mu, [batch, kv_heads, 1, features]
  torch::Tensor covariance_;  // scale^2 Sigma / 2: [batch, kv_heads, features, features], or its
                              // diagonal, [batch, kv_heads, 1, features]
  bool full_;
  torch::ScalarType dtype_;
};

}  // namespace motet
