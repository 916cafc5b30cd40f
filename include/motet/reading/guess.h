#pragma once

#include <cstdint>
#include <string>

#include "motet/reading/adaptive.h"

namespace motet {

/// What Guess knows of a piece: statistics of its keys that are made once, or, for comparison,
/// nothing of them.
enum class KeySummary {
  kMean,      ///< their mean, and how many they are: a bound from below on their lse (Jensen)
  kDiagonal,  ///< and the variance of each feature: a Gaussian without correlations
  kFull,      ///< and the whole covariance: a Gaussian
  kBox,       ///< the smallest and largest of each feature: a bound on the largest score
  kLast,      ///< where it stands: the last ones are kept
  kRandom,    ///< nothing: rows of heads keep some at random, by a hash of their other scores
};

/// Each row keeps the K pieces that a summary of their keys promises most of, and touches no key of
/// the others: `select` at the price of P keys. The scorers of Quest (arXiv 2406.10774; kBox), of
/// mean keys as many stores of pages have them, and of QAdA's estimate (arXiv 2502.09647; kDiagonal
/// and kFull), piece by piece. Ties go to the lower index.
class Guess : public WindowReading {
 public:
  /// Throws Error unless pieces is at least 1.
  explicit Guess(int64_t pieces = 2, KeySummary summary = KeySummary::kFull);
  std::string name() const override;
  ReadingNeeds needs() const override;

 protected:
  torch::Tensor reads(const PieceScores& scores, int64_t pieces) const override;

 private:
  int64_t pieces_;
  KeySummary summary_;
};

}  // namespace motet
