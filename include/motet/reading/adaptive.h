#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "motet/reading/reading.h"

namespace motet {

/// A reading in which every row reads a window, and which of the bulks is decided for each row.
class WindowReading : public Reading {
 public:
  /// Log weights of split sets: 0, and -inf for bulks that a row does not read.
  std::optional<torch::Tensor> decide(const PieceScores& scores) const final;

 protected:
  /// Whether rows read the bulks, bool, [batch, heads, query, pieces].
  virtual torch::Tensor reads(const PieceScores& scores, int64_t pieces) const = 0;
};

/// How Adaptive decides.
struct AdaptiveOptions {
  double tau = 0.95;                     ///< the share of a row's mass that suffices, within [0, 1]
  Window window;                         ///< that every row reads
  BulkMass mass = BulkMass::kEstimated;  ///< kTrue is the oracle, which saves nothing
  Covariance covariance = Covariance::kFull;  ///< of the estimate
  bool mixture = false;                       ///< pieces are kept or dropped one by one

  /// Throws Error naming the first field out of range.
  void validate() const;
};

/// Each row of each head decides whether it needs keys that are far away, without touching them:
/// local where ln A_W - ln A_B_hat >= ln(tau / (1 - tau)). QAdA, arXiv 2502.09647; see
/// docs/heads.md. tau = 0 makes every row local, tau = 1 has every row read everything.
///
/// As a mixture (ours), each piece's bulk is a Gaussian of its own, and the fewest of them are
/// read, largest estimate first, with which A_W + kept >= tau (A_W + all). One piece: the plain
/// test.
class Adaptive : public WindowReading {
 public:
  /// Throws Error for options out of range.
  explicit Adaptive(AdaptiveOptions options = {});
  std::string name() const override;
  ReadingNeeds needs() const override;
  const AdaptiveOptions& options() const { return options_; }  ///< as given

 protected:
  torch::Tensor reads(const PieceScores& scores, int64_t pieces) const override;

 private:
  AdaptiveOptions options_;
};

/// The same heads read everything for every row, the others are local: a static pattern, as that of
/// DuoAttention (arXiv 2410.10819).
class FixedHeads : public WindowReading {
 public:
  /// `is_long` is bool, [layers, heads]; `name` is what reports call it. Throws Error for another
  /// shape or dtype.
  explicit FixedHeads(torch::Tensor is_long, Window window = {}, std::string name = "heads");
  std::string name() const override;
  ReadingNeeds needs() const override;

 protected:
  torch::Tensor reads(const PieceScores& scores, int64_t pieces) const override;

 private:
  torch::Tensor is_long_;
  Window window_;
  std::string name_;
};

/// Which bulks are read: bool, [..., pieces], from ln A_W, [...], and the lse of each bulk or of
/// all together, [..., pieces or 1]: the fewest bulks, largest first, with
/// window + kept >= tau (window + all).
torch::Tensor bulks_needed(const torch::Tensor& window_lse, const torch::Tensor& bulk_lse,
                           double tau);

}  // namespace motet
