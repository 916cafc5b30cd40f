#pragma once

#include <algorithm>
#include <cmath>
#include <optional>

#include "motet/eval/predictions.h"

namespace motet {

/// The mean and standard error of all tokens, from those of groups of them.
struct Sums {
  double count = 0, sum = 0, squares = 0;

  void add(double tokens, double mean, const std::optional<double>& standard_error) {
    const auto deviation = standard_error.value_or(0) * std::sqrt(tokens);
    count += tokens;
    sum += tokens * mean;
    squares += deviation * deviation * (tokens - 1) + tokens * mean * mean;
  }
  Mean mean() const {
    Mean mean{sum / count, {}};
    if (count > 1) {
      const auto variance = std::max(0.0, squares - sum * mean.value) / (count - 1);
      mean.standard_error = std::sqrt(variance / count);
    }
    return mean;
  }
};

}  // namespace motet
