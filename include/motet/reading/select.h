#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "motet/reading/reading.h"

namespace motet {

/// What Select keeps, and for whom.
struct SelectOptions {
  int64_t pieces = 2;   ///< K: how many pieces each row keeps
  int64_t top = 5;      ///< r: how many of the largest probabilities make a piece's score
  bool layers = false;  ///< all layers share one choice, made in a first pass
  bool heads = false;   ///< the query heads of a layer share one choice
  bool rows = false;    ///< the rows of one query in one read share one choice
};

/// Each row keeps its K best pieces. PCE section 5.2, "selective attention"; arXiv 2412.16545.
///
/// A piece's score is the sum of its r largest probabilities, taken over everything the row sees.
/// Aggregated over layers, heads, rows or several of them, the sum of the r largest of all those
/// scores is the score that they share. Ties go to the lower index.
class Select : public Reading {
 public:
  /// Throws Error unless pieces and top are at least 1.
  explicit Select(SelectOptions options = {});
  std::string name() const override;
  ReadingNeeds needs() const final;
  std::optional<torch::Tensor> decide(const PieceScores& scores) const final;
  std::vector<std::optional<torch::Tensor>> decide_layers(
      const std::vector<PieceScores>& scores) const final;
  const SelectOptions& options() const { return options_; }  ///< as given

 private:
  SelectOptions options_;
};

/// The log weights of a choice, [batch, heads, query, sets]: 0, and -inf for the pieces that a row
/// does not keep. Ties go to the lower index. Throws Error where there are fewer pieces.
torch::Tensor choose_pieces(const PieceScores& scores, const RowChoice& choice);

/// The score of each piece: the sum of its `top` largest probabilities over everything the row
/// sees, [batch, heads, query, pieces]. PCE section 5.2.
torch::Tensor piece_scores(const PieceScores& scores, int64_t top);

}  // namespace motet
