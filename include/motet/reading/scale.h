#pragma once

#include <torch/types.h>

#include <optional>
#include <string>

#include "motet/reading/reading.h"

namespace motet {

/// From a row to the factor on all of its scores.
enum class ScaleLaw {
  /// S ln n, of the n keys that the row sees. Scalable-Softmax, Nakanishi 2025, arXiv 2501.19399.
  kSsmax,
  /// sqrt((1 - n^(-2/d)) / (1 - m^(-2/d))) for n keys where m are what the model is used to, of d
  /// features. InfoScale, Li et al. 2025, arXiv 2501.08570.
  kInfoScale,
  /// max(1, a polynomial of the row's entropy without the factor), 1 where that is 0.5 nats or
  /// less. Velickovic et al. 2024, arXiv 2410.01104.
  kEntropy,
};

/// Scores are multiplied as a law has it, which was made for contexts that are longer than those of
/// training. Read in pieces, a row sees more keys than any path through the text is long: unless
/// told otherwise, "what the model is used to" is the longest such path, prefix, longest piece and
/// own keys, so that reading in one piece is ordinary reading.
class Scale : public Reading {
 public:
  /// `number` is S of kSsmax (nothing: 1 / ln of the longest path) or m of kInfoScale (nothing: the
  /// longest path). Throws Error for numbers that cannot be, and for one of kEntropy.
  explicit Scale(ScaleLaw law, std::optional<double> number = {});
  std::string name() const override;
  ReadingNeeds needs() const override;
  std::optional<torch::Tensor> row_factor(const RowKeys& rows) const override;

 private:
  ScaleLaw law_;
  std::optional<double> number_;
};

}  // namespace motet
