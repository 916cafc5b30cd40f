#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "motet/reading/reading.h"

namespace motet {

/// Each row keeps its k largest keys of whatever set, ties included, and their probabilities are
/// scaled to a sum of 1. Rows that see no more are as they are. The yardstick for a loss that
/// concentrates attention: after Sason et al. 2025, arXiv 2503.01564 v1 (since withdrawn).
class TopK : public Reading {
 public:
  /// Throws Error unless keys is at least 1.
  explicit TopK(int64_t keys);
  std::string name() const override;
  ReadingNeeds needs() const override { return {.budget = {.keys = keys_}}; }
  std::optional<torch::Tensor> threshold(const PieceScores& scores) const override {
    return scores.top_threshold;
  }
  int64_t keys() const { return keys_; }  ///< k

 private:
  int64_t keys_;
};

}  // namespace motet
