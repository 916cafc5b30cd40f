#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "motet/context/piece_sets.h"
#include "motet/reading/read_rows.h"

namespace motet {

/// Which rows a pass through the model computes: those of the context, or those of a query.
enum class RowKind {
  kContext,  ///< rows of prefix and pieces, in `encode`
  kQuery,    ///< rows of a query, in `read`
};

/// What attention did in one layer of one pass. Rows of a context have two sets, the prefix and
/// their own segment; those of a query have pieces between.
struct Observation {
  int64_t layer = 0;               ///< counted from 0
  int64_t layers = 0;              ///< of the model
  RowKind kind = RowKind::kQuery;  ///< which rows these are
  int64_t first_row = 0;           ///< rows of this kind that earlier passes had
  /// Where each query of a batch begins among the rows, and the end: 0, ..., rows.
  std::vector<int64_t> queries;

  int64_t prefix = 0;           ///< tokens of the prefix
  std::vector<int64_t> pieces;  ///< tokens of each piece
  PieceSets sets;               ///< what the sets of these rows mean
  /// The keys that each row sees, before a reading drops any, with the factors of the reading.
  std::shared_ptr<const KeySets> visible;
  ScoreRule rule = {};  ///< from q.k to a score

  /// The merged row; with ProbeNeeds::rows only (entropies with ProbeNeeds::entropy), as are the
  /// log weights and what a reading left unread inside pieces.
  Row row;
  std::optional<torch::Tensor> log_weight;  ///< [batch, heads, rows, sets]; nothing where all are 0
  std::optional<BulkRows> bulk;             ///< nothing where all of each kept piece was read
  std::optional<torch::Tensor> threshold;   ///< as in ReadRows
  std::optional<torch::Tensor> factor;      ///< as in ReadRows

  /// As attention saw them, rotated, with ProbeNeeds::query_keys_values: [batch, heads, rows,
  /// features].
  torch::Tensor query;
  /// The same of keys: a list of [batch or 1, kv_heads, keys, features] that together holds the
  /// keys of the sets: prefix | pieces | own.
  std::vector<torch::Tensor> keys;
  std::vector<torch::Tensor> values;  ///< as `keys`

  /// Of ProbeNeeds::named_rows those that are in this pass, counted like `first_row`.
  std::vector<int64_t> named_rows;
  /// The probability of every key for them, [batch, heads, named, keys], keys laid out as above; 0
  /// for keys that a row does not see.
  torch::Tensor probabilities;

  /// row.parts(), made once for all probes. With ProbeNeeds::rows.
  const RowParts& parts() const;
  /// Whether a row kept a piece, or more of it than a window, bool, [batch, heads, rows, pieces];
  /// nothing where all rows keep all pieces. With ProbeNeeds::rows.
  std::optional<torch::Tensor> kept_pieces() const;
  /// As `probabilities`, for any rows of this pass, counted from its first: with ProbeNeeds::rows
  /// and ProbeNeeds::query_keys_values. Memory goes with rows times keys.
  torch::Tensor probabilities_of(const std::vector<int64_t>& rows) const;

  mutable std::optional<RowParts> known_parts = {};  ///< what `parts` keeps of this `row`
};

}  // namespace motet
