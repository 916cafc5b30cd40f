#pragma once

#include <torch/types.h>

#include <optional>
#include <string>

#include "motet/reading/reading.h"

namespace motet {

/// Beside its keys each row sees a set without any, of lse b: a place where mass may go without
/// bringing anything. b = 0 is softmax-off-by-one (Miller 2023, "Attention Is Off By One"); numbers
/// of each head, which gpt-oss learns as its sinks (arXiv 2508.10925), are those of a Learned
/// reading.
class NullSet : public Reading {
 public:
  /// Throws Error unless b is finite.
  explicit NullSet(double b = 0);
  std::string name() const override;
  ReadingNeeds needs() const override { return {.null = true}; }
  std::optional<torch::Tensor> decide(const PieceScores& scores) const override;

 private:
  double b_;
};

}  // namespace motet
