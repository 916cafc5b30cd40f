#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "motet/attention/scores.h"

namespace motet {

/// What a reading must know before it decides.
struct ReadingNeeds {
  bool scores = false;  ///< lse and entropy of each set
  int64_t top = 0;      ///< how many of the largest scores of each set
};

/// A choice that each row makes for itself, while its keys are read.
struct RowChoice {
  int64_t pieces = 0;  ///< how many are kept
  int64_t top = 0;     ///< whose largest probabilities, this many of each, have the largest sums
};

/// How a query attends to the pieces: from what is known of each set to a log weight for it.
///
/// The sets are, in this order: the prefix, piece 1 .. piece P, and the query's own keys.
class Reading {
 public:
  virtual ~Reading() = default;
  /// The reading with its options, as reports name it: `select(K=2, r=5)`.
  virtual std::string name() const = 0;
  virtual ReadingNeeds needs() const { return {}; }
  /// Log weights, [batch, heads, query, sets]: 0 keeps a set, -inf drops it, others shift it.
  /// Nothing: 0 everywhere.
  virtual std::optional<torch::Tensor> decide(const Scores& scores) const = 0;
  /// What `decide` does, where that is such a choice: a kernel may then make it by itself.
  virtual std::optional<RowChoice> row_choice() const { return {}; }
};

/// Every set as it is: ordinary attention over prefix, all pieces and own.
class All : public Reading {
 public:
  std::string name() const override { return "all"; }
  std::optional<torch::Tensor> decide(const Scores&) const override { return {}; }
};

struct SelectOptions {
  int64_t pieces = 2;  ///< K: how many pieces each row keeps
  int64_t top = 5;     ///< r: how many of the largest probabilities make a piece's score
  bool heads = false;  ///< the query heads of a layer share one choice
  bool rows = false;   ///< the rows of one query in one read share one choice
};

/// Each row keeps its K best pieces. PCE section 5.2, "selective attention"; arXiv 2412.16545.
///
/// A piece's score is the sum of its r largest probabilities, taken over everything the row sees.
/// Aggregated over heads, rows or both, the sum of the r largest of all those scores is the score
/// that they share. Ties go to the lower index.
class Select : public Reading {
 public:
  /// Throws Error unless pieces and top are at least 1.
  explicit Select(SelectOptions options = {});
  std::string name() const override;
  ReadingNeeds needs() const override { return {.scores = true, .top = options_.top}; }
  std::optional<torch::Tensor> decide(const Scores& scores) const override;
  std::optional<RowChoice> row_choice() const override;

 private:
  SelectOptions options_;
};

/// What a reading decided, and the rows that came of it.
struct ReadRows {
  Row row;
  std::optional<torch::Tensor> log_weight;  ///< as in Reading::decide
};

/// Rows as `reading` has them: score, decide, attend, in one pass over the keys where the reading
/// allows it. Arguments and errors as of `attend`; `queries` as in Scores.
ReadRows read_rows(const Reading& reading, const torch::Tensor& query, torch::TensorList keys,
                   torch::TensorList values, const KeySets& sets,
                   const std::vector<int64_t>& queries, const RowOptions& options = {});

}  // namespace motet
