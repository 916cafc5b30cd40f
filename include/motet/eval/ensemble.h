#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "motet/context/encoded_context.h"

namespace motet {

/// How the predictions of readings of one piece each become one.
enum class Mixing {
  /// Of the pieces the one whose prediction has the least entropy, against no context at all:
  /// (1 + beta) ln p(piece) - beta ln p(none), normalised. NBCE, Su 2023 ("Naive Bayes-based
  /// Context Extension"). His test.py cuts predictions to a top-p of 0.95 before entropies and
  /// mixing, and keeps ln p(piece) where ln p(none) is -100 or less; here neither is done.
  kNbce,
  /// The mean of the probabilities. REPLUG, Shi et al. 2023, arXiv 2301.12652, with equal weights.
  kMean,
};

/// Every piece is read by a query of its own, and their predictions are mixed row by row: what can
/// be done without touching attention, and costs as many queries as there are pieces.
struct Ensemble {
  Mixing mixing = Mixing::kNbce;  ///< of the predictions
  double beta = 0.25;             ///< of kNbce

  /// `nbce:0.25`, or `mean`: what ensemble_named takes.
  std::string name() const;
  /// How many queries there are over so many pieces.
  int64_t members(int64_t pieces) const;
};

/// `nbce`, `nbce:BETA` or `mean`. Throws Error for anything else, and for a beta that is negative.
Ensemble ensemble_named(std::string_view text);

/// What each member reads: prefix and one piece, and for kNbce last the prefix alone. Queries stand
/// where those of the whole context do.
std::vector<EncodedContext> members_of(const Ensemble& ensemble, const EncodedContext& context);

/// ln p of the mixture, [rows, vocabulary], from the logits of each member, in the order of
/// members_of.
torch::Tensor mixed(const Ensemble& ensemble, const std::vector<torch::Tensor>& logits);

}  // namespace motet
