#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

namespace motet {

/// How the product of a query and a key becomes a score: s = factor scale q.k, or under a soft cap
/// s = factor cap tanh(scale q.k / cap). The factor is that of the key's set (KeySets::factor), so
/// it comes after the cap. Soft cap: Gemma 2, arXiv 2408.00118, section 2.
struct ScoreRule {
  std::optional<double> scale;     ///< on q.k; 1 / sqrt(features) unless given
  std::optional<double> cap = {};  ///< bounds |score| before the factor; nothing: no bound

  /// The scale that queries of so many features have.
  double scale_of(int64_t features) const;
  /// Scores from products q.k of queries of so many features, alike in shape, before the factor.
  torch::Tensor scores(const torch::Tensor& products, int64_t features) const;
  /// Throws Error, which begins with `where`, unless scale is finite and cap finite and above 0.
  void validate(const char* where) const;
  /// Field by field.
  friend bool operator==(const ScoreRule&, const ScoreRule&) = default;
};

}  // namespace motet
