#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "motet/attention/rows.h"

namespace motet {

/// Which rows a pass through the model computes: those of the context, or those of a query.
enum class RowKind { kContext, kQuery };

/// What attention did in one layer of one pass.
///
/// Sets of context rows: the prefix, own segment. Sets of query rows: the prefix, piece 1 .. piece
/// P, own keys.
struct Observation {
  int64_t layer = 0;
  int64_t layers = 0;  ///< of the model
  RowKind kind = RowKind::kQuery;
  int64_t first_row = 0;  ///< rows of this kind that earlier passes had
  std::vector<int64_t>
      queries;  ///< where each query of a batch begins among the rows, and the end: 0, ..., rows

  int64_t prefix = 0;           ///< tokens of the prefix
  std::vector<int64_t> pieces;  ///< tokens of each piece
  double scale = 1;             ///< on q.k

  /// The merged row; with Needs::rows only (entropies with Needs::entropy), as are the log weights.
  Row row;
  std::optional<torch::Tensor> log_weight;  ///< [batch, heads, rows, sets]; nothing where all are 0

  /// As attention saw them, with Needs::query_keys_values: [batch, heads, rows, features], and
  /// lists of [batch or 1, kv_heads, keys, features] that together hold the keys of the sets.
  torch::Tensor query;
  std::vector<torch::Tensor> keys, values;

  /// With Needs::named_rows: those of this pass's query rows, counted like `first_row`, and the
  /// probability of every key for them, [batch, heads, named, keys]; 0 for keys that a row does not
  /// see. Keys are laid out as prefix | pieces | own.
  std::vector<int64_t> named_rows;
  torch::Tensor probabilities;
};

}  // namespace motet
