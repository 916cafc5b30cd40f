#pragma once

#include <torch/types.h>

#include <optional>
#include <string>

#include "motet/reading/reading.h"

namespace motet {

/// Pieces keep their total mass, dealt out anew by softmax(ln(score + 1e-5) / temperature), where a
/// piece's score is that of Select. As the temperature falls, the best piece takes it all.
///
/// It differs on purpose from the branch of that name in the code of PCE (arXiv 2412.16545), which
/// the paper does not report: there the masses of pieces sum to 1 beside own keys, which stay as
/// they are, and the prefix is dropped.
class Soft : public Reading {
 public:
  /// Throws Error unless the temperature is finite and above 0.
  explicit Soft(double temperature = 1);
  std::string name() const override;
  ReadingNeeds needs() const override;
  std::optional<torch::Tensor> decide(const PieceScores& scores) const override;

 private:
  double temperature_;
};

/// The merge of pieces with an exponent b: masses go as exp(b lse) and keep their total of
/// sum exp(b lse)^(1/b). b = 1 is `all`; as b grows, the best piece is kept alone.
class Sharpen : public Reading {
 public:
  /// Throws Error unless the exponent is finite and above 0.
  explicit Sharpen(double exponent = 4);
  std::string name() const override;
  ReadingNeeds needs() const override { return {.scores = true}; }
  std::optional<torch::Tensor> decide(const PieceScores& scores) const override;

 private:
  double exponent_;
};

/// Every piece's log weight is -c ln P: P pieces bring P sets of first tokens, which soak up mass.
/// c = 0 is `all`, c = 1 turns the sum over pieces into a mean.
///
/// Without a prefix, c = 1 is the weighting of Structured Prompting (Hao et al. 2022, arXiv
/// 2212.06713), which counts own keys P times, and Positions::kRight is its layout. With a prefix
/// the two differ; that and other c are ours.
class Discount : public Reading {
 public:
  /// Throws Error unless c is finite.
  explicit Discount(double c = 1);
  std::string name() const override;
  ReadingNeeds needs() const override { return {.scores = true}; }
  std::optional<torch::Tensor> decide(const PieceScores& scores) const override;

 private:
  double c_;
};

/// Scores of pieces are divided by a temperature T, and the pieces' lse is multiplied by S T. APE,
/// arXiv 2502.05431. T = S = 1 is `all`.
class Temper : public Reading {
 public:
  /// Throws Error unless both are finite and above 0.
  explicit Temper(double temperature = 0.9, double scale = 0.9);
  std::string name() const override;
  ReadingNeeds needs() const override { return {.scores = true}; }
  KeySets prepare(KeySets sets, const PieceSets& meaning) const override;
  std::optional<torch::Tensor> decide(const PieceScores& scores) const override;

 private:
  double temperature_, scale_;
};

}  // namespace motet
