#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "motet/attention/key_moments.h"
#include "motet/attention/scores.h"
#include "motet/context/piece_sets.h"
#include "motet/context/window.h"

namespace motet {

/// How well the mass of the bulk (keys of pieces outside the window) is known.
enum class BulkMass {
  kNothing,    ///< the reading decides without it
  kEstimated,  ///< from the moments of its keys: none of them is touched
  kBounded,    ///< a bound on the largest score, from the bounds of its keys (BoundedKeys)
  kTrue,       ///< from all of its keys
};

/// What a reading that leaves bulks unread must know of them.
struct BulkNeeds {
  Window window;                              ///< keys that every row reads
  BulkMass mass = BulkMass::kEstimated;       ///< how well their mass is known
  Covariance covariance = Covariance::kFull;  ///< of the estimate
  bool by_piece = false;                      ///< of each piece's bulk, not of all together
};

/// A choice that each row makes for itself: it keeps the pieces with the largest sums of their
/// largest probabilities. PCE section 5.2, arXiv 2412.16545.
struct RowChoice {
  int64_t pieces = 0;  ///< K: how many are kept
  int64_t top = 0;     ///< r: how many of a piece's largest probabilities are summed
};

/// What a reading must know to put a factor on all scores of a row.
enum class RowFactor {
  kNone,     ///< there is none
  kKeys,     ///< which keys the row sees
  kEntropy,  ///< and the entropy that it has without the factor: a pass of its own over the keys
};

/// A row before its scores have a factor.
struct RowKeys {
  const KeySets& sets;   ///< what it sees, with the factors of `prepare`
  PieceSets meaning;     ///< of these
  int64_t features = 0;  ///< of its query
  /// With RowFactor::kEntropy: of the row over all of these keys, [batch, heads, query], nats.
  torch::Tensor entropy = {};
};

/// What a reading must know before it decides; nothing else is computed for it.
struct ReadingNeeds {
  bool scores = false;    ///< lse and entropy of each set
  int64_t top = 0;        ///< how many of the largest scores of each set
  bool layers = false;    ///< those of all layers together: a first pass computes them
  KeyBudget budget = {};  ///< whose threshold, Scores::top_threshold; not with `bulk`
  /// The reading decides which bulks rows read: the sets of its log weights are then split
  /// (PieceSets::split), and of scores the lse of the window alone is computed.
  std::optional<BulkNeeds> bulk = {};
  /// The log weights are those of this choice, and `decide` is not asked: a kernel may choose while
  /// it reads keys.
  std::optional<RowChoice> choice = {};
  int64_t kept = 0;  ///< pieces that are kept of P, which must be there; 0: no such number
  /// Rows see a set without keys behind the others, whose lse is 0, its out 0 and its entropy 0:
  /// `decide` weighs it, too (PieceSets::null). Not with `bulk` or `choice`.
  bool null = false;
  RowFactor factor = RowFactor::kNone;  ///< Reading::row_factor; not with `layers` or `bulk`

  /// Throws Error, which names the reading, where two of these exclude each other.
  void validate(const std::string& reading) const;
};

/// Scores of the rows of a query over prefix, pieces and own keys, as a reading is shown them.
struct PieceScores : Scores {
  PieceSets sets;  ///< what the sets mean
  /// Where each query of a batch of queries begins among the rows, and where the last ends: 0, ...,
  /// rows.
  std::vector<int64_t> queries;
  int64_t layer = 0;  ///< of the model, from 0
  /// The lse of each piece's bulk, [batch, heads, query, pieces], nats, or that of all of them
  /// together, [batch, heads, query, 1]: what ReadingNeeds::bulk asks for, and undefined without.
  /// The other sets are then those of the window.
  torch::Tensor bulk = {};

  /// lse of each piece, [batch, heads, query, pieces], nats.
  torch::Tensor piece_lse() const { return sets.pieces_in(lse); }
  /// Log weights that shift pieces alone: those of `pieces`, [batch, heads, query, pieces], and 0
  /// for prefix and own. A piece without keys has nothing to shift: 0.
  torch::Tensor for_pieces(const torch::Tensor& pieces) const;
};

/// The file that a reading was made from.
struct ReadingSource {
  std::string hash;        ///< SHA-256 of the file
  std::string model_hash;  ///< of the model that the file is of; empty where it does not say
};

/// How a query attends to the pieces: from what is known of each set to a log weight for it.
class Reading {
 public:
  virtual ~Reading() = default;
  /// The reading with its options, as reports name it: `select(K=2, r=5)`.
  virtual std::string name() const = 0;
  /// The file behind the name, by which runs tell readings of one name apart. Nothing: the name
  /// says all.
  virtual std::optional<ReadingSource> source() const { return {}; }
  /// Throws Error where a model with so many layers and query heads cannot be read: asked by
  /// plans, Reader and forward, before any row is.
  virtual void check(int64_t /*layers*/, int64_t /*heads*/) const {}
  /// What `decide` is shown; nothing else is computed for it.
  virtual ReadingNeeds needs() const { return {}; }
  /// The same sets with the factors that this reading puts on scores; `decide` sees scores with
  /// them. `meaning` is that of `sets`.
  virtual KeySets prepare(KeySets sets, const PieceSets& /*meaning*/) const { return sets; }
  /// The factor on all scores of each row, as RowOptions::factor; asked with ReadingNeeds::factor.
  /// `decide` sees scores with it. Nothing: 1.
  virtual std::optional<torch::Tensor> row_factor(const RowKeys& /*rows*/) const { return {}; }
  /// Log weights, [batch, heads, query, sets]: 0 keeps a set, -inf drops it, others shift it.
  /// Nothing: 0 everywhere.
  virtual std::optional<torch::Tensor> decide(const PieceScores& /*scores*/) const { return {}; }
  /// The same for all layers at once, for a reading that needs them together
  /// (ReadingNeeds::layers): `scores` are those of a first pass that reads `all`.
  virtual std::vector<std::optional<torch::Tensor>> decide_layers(
      const std::vector<PieceScores>& scores) const;
  /// Scores below it are dropped, whatever their set: [batch, heads, query]. Nothing: none are. Not
  /// asked of a reading that needs all layers together or decides about bulks; of one with a choice
  /// only with a budget.
  virtual std::optional<torch::Tensor> threshold(const PieceScores& /*scores*/) const { return {}; }
};

/// Every set as it is: ordinary attention over prefix, all pieces and own.
class All : public Reading {
 public:
  std::string name() const override { return "all"; }
};

}  // namespace motet
