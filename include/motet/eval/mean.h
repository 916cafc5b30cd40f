#pragma once

#include <torch/types.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace motet {

/// A mean over tokens and its standard error: the standard deviation over the square root of their
/// number.
struct Mean {
  double value = 0;                      ///< the mean
  std::optional<double> standard_error;  ///< nothing for a single token
};

/// Mean and standard error of a tensor's elements.
Mean mean_of(const torch::Tensor& x);

/// The mean and standard error of all tokens, from those of groups of them.
class PooledMean {
 public:
  /// A group of `tokens`, whose mean has this standard error.
  void add(double tokens, double mean, const std::optional<double>& standard_error) {
    const auto deviation = standard_error.value_or(0) * std::sqrt(tokens);
    count_ += tokens;
    sum_ += tokens * mean;
    squares_ += deviation * deviation * (tokens - 1) + tokens * mean * mean;
  }
  Mean mean() const {  ///< of all groups
    Mean mean{sum_ / count_, {}};
    if (count_ > 1) {
      const auto variance = std::max(0.0, squares_ - sum_ * mean.value) / (count_ - 1);
      mean.standard_error = std::sqrt(variance / count_);
    }
    return mean;
  }

 private:
  double count_ = 0, sum_ = 0, squares_ = 0;
};

}  // namespace motet
