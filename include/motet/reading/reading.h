#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "motet/attention/key_moments.h"
#include "motet/attention/scores.h"
#include "motet/context/window.h"

namespace motet {

/// What is to be known of the bulk, the keys of pieces beside a window that every row reads.
enum class BulkMass {
  kNothing,    ///< the reading decides without it
  kEstimated,  ///< from the moments of its keys: none of them is touched
  kTrue,       ///< from all of its keys
};

/// What a reading that leaves bulks unread must know of them.
struct BulkNeeds {
  Window window;                              ///< that every row reads
  BulkMass mass = BulkMass::kEstimated;       ///< how well
  Covariance covariance = Covariance::kFull;  ///< of the estimate
  bool by_piece = false;                      ///< of each piece's bulk, not of all together
};

/// What a reading must know before it decides.
struct ReadingNeeds {
  bool scores = false;    ///< lse and entropy of each set
  int64_t top = 0;        ///< how many of the largest scores of each set
  bool layers = false;    ///< those of all layers together: a first pass computes them
  KeyBudget budget = {};  ///< whose threshold, Scores::top_threshold
  /// The reading decides which bulks rows read: the sets of its log weights are prefix | window of
  /// piece 1 .. P | own | bulk of piece 1 .. P, and of scores the lse of the window alone is
  /// computed.
  std::optional<BulkNeeds> bulk = {};
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
  /// What `decide` is shown; nothing else is computed for it.
  virtual ReadingNeeds needs() const { return {}; }
  /// The same sets with the factors that this reading puts on scores; `decide` sees scores with
  /// them.
  virtual KeySets prepare(KeySets sets) const { return sets; }
  /// Log weights, [batch, heads, query, sets]: 0 keeps a set, -inf drops it, others shift it.
  /// Nothing: 0 everywhere.
  virtual std::optional<torch::Tensor> decide(const Scores& scores) const = 0;
  /// The same for all layers at once, for a reading that needs them together
  /// (ReadingNeeds::layers): `scores` are those of a first pass that reads `all`.
  virtual std::vector<std::optional<torch::Tensor>> decide_layers(
      const std::vector<Scores>& scores) const;
  /// Scores below it are dropped, whatever their set: [batch, heads, query]. Nothing: none are. Not
  /// asked of a reading that needs all layers together.
  virtual std::optional<torch::Tensor> threshold(const Scores&) const { return {}; }
  /// A copy, which `forward` keeps until a backward pass where that computes rows again (see
  /// ForwardOptions::checkpoint). Null: it refuses to.
  virtual std::shared_ptr<const Reading> copy() const { return nullptr; }
  /// What `decide` does, where that is such a choice and `threshold` drops nothing: a kernel may
  /// then make it by itself. A class that overrides one overrides both.
  virtual std::optional<RowChoice> row_choice() const { return {}; }
};

/// Every set as it is: ordinary attention over prefix, all pieces and own.
class All : public Reading {
 public:
  std::string name() const override { return "all"; }
  std::optional<torch::Tensor> decide(const Scores&) const override { return {}; }
  std::shared_ptr<const Reading> copy() const override { return std::make_shared<All>(*this); }
};

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
  std::shared_ptr<const Reading> copy() const override { return std::make_shared<Select>(*this); }
  ReadingNeeds needs() const override {
    return {.scores = true, .top = options_.top, .layers = options_.layers};
  }
  std::optional<torch::Tensor> decide(const Scores& scores) const override;
  std::vector<std::optional<torch::Tensor>> decide_layers(
      const std::vector<Scores>& scores) const override;
  std::optional<RowChoice> row_choice() const override;
  const SelectOptions& options() const { return options_; }  ///< as given

 private:
  SelectOptions options_;
};

/// Pieces keep their total mass, dealt out anew by softmax(ln(score + 1e-5) / temperature), where a
/// piece's score is that of Select. As the temperature falls, the best piece takes it all.
class Soft : public Reading {
 public:
  /// Throws Error unless the temperature is finite and above 0.
  explicit Soft(double temperature = 1);
  std::string name() const override;
  std::shared_ptr<const Reading> copy() const override { return std::make_shared<Soft>(*this); }
  ReadingNeeds needs() const override;
  std::optional<torch::Tensor> decide(const Scores& scores) const override;

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
  std::shared_ptr<const Reading> copy() const override { return std::make_shared<Sharpen>(*this); }
  ReadingNeeds needs() const override { return {.scores = true}; }
  std::optional<torch::Tensor> decide(const Scores& scores) const override;

 private:
  double exponent_;
};

/// Every piece's log weight is -c ln P: P pieces bring P sets of first tokens, which soak up mass.
/// c = 0 is `all`, c = 1 turns the sum over pieces into a mean.
class Discount : public Reading {
 public:
  /// Throws Error unless c is finite.
  explicit Discount(double c = 1);
  std::string name() const override;
  std::shared_ptr<const Reading> copy() const override { return std::make_shared<Discount>(*this); }
  ReadingNeeds needs() const override { return {.scores = true}; }
  std::optional<torch::Tensor> decide(const Scores& scores) const override;

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
  std::shared_ptr<const Reading> copy() const override { return std::make_shared<Temper>(*this); }
  ReadingNeeds needs() const override { return {.scores = true}; }
  KeySets prepare(KeySets sets) const override;
  std::optional<torch::Tensor> decide(const Scores& scores) const override;

 private:
  double temperature_, scale_;
};

/// Each row keeps its k largest keys of whatever set, ties included, and their probabilities are
/// scaled to a sum of 1. Rows that see no more are as they are. The yardstick for a loss that
/// concentrates attention: after Sason et al. 2025, arXiv 2503.01564 v1 (since withdrawn).
class TopK : public Reading {
 public:
  /// Throws Error unless keys is at least 1.
  explicit TopK(int64_t keys);
  std::string name() const override;
  std::shared_ptr<const Reading> copy() const override { return std::make_shared<TopK>(*this); }
  ReadingNeeds needs() const override { return {.budget = {.keys = keys_}}; }
  std::optional<torch::Tensor> decide(const Scores&) const override { return {}; }
  std::optional<torch::Tensor> threshold(const Scores& scores) const override {
    return scores.top_threshold;
  }
  int64_t keys() const { return keys_; }  ///< k

 private:
  int64_t keys_;
};

/// A reading by its name and options, as command lines have them: `all`, `select`, `select:K`,
/// `select:K:heads+rows` (any of layers, heads and rows), `soft:T`, `sharpen:B`, `discount:C`,
/// `temper:T:S`, `topk:K`, `adaptive:TAU`, `adaptive:TAU:full` or `diagonal`,
/// `adaptive:TAU:full:mixture`. What is left out has its default (K of `topk` has none). Throws
/// Error for anything else.
std::shared_ptr<Reading> reading_named(std::string_view text);

/// Which bulks a reading left unread (ReadingNeeds::bulk).
struct BulkRows {
  Window window;                            ///< that every row read
  WindowSets sets;                          ///< the pieces split
  std::optional<torch::Tensor> log_weight;  ///< of `sets.all`, always there

  /// Whether a row read a piece's bulk, bool, [batch, heads, query, pieces].
  torch::Tensor read() const;
};

/// What a reading decided, and the rows that came of it.
struct ReadRows {
  Row row;  ///< the merged row
  /// As in Reading::decide; nothing also where `bulk` says what was decided.
  std::optional<torch::Tensor> log_weight;
  std::optional<torch::Tensor> threshold;  ///< as in Reading::threshold, and RowOptions'
  std::optional<BulkRows> bulk = {};       ///< with ReadingNeeds::bulk, where there are pieces
};

/// What `read_rows` makes of keys and sets for a reading that decides about bulks, for a caller who
/// keeps it from call to call.
struct KnownBulks {
  const std::vector<GaussianKeys>* estimates = nullptr;  ///< as `model_bulks` makes them
  const WindowSets* sets = nullptr;                      ///< as `split_window` makes them
};

/// Rows as `reading` has them: score, decide, attend, in one pass over the keys where the reading
/// allows it. Arguments and errors as of `attend`; `queries` and `layer` as in Scores.
ReadRows read_rows(const Reading& reading, const torch::Tensor& query, torch::TensorList keys,
                   torch::TensorList values, const KeySets& sets,
                   const std::vector<int64_t>& queries, const RowOptions& options = {},
                   int64_t layer = 0, const KnownBulks& known = {});

/// The bulks of pieces as a reading estimates them: one for each, or one for all of them together.
/// `moments` are those of each piece's bulk.
std::vector<GaussianKeys> model_bulks(const BulkNeeds& needs,
                                      const std::vector<KeyMoments>& moments, double scale,
                                      torch::ScalarType dtype);

}  // namespace motet
