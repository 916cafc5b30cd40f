#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "motet/attention/rows.h"

namespace motet {

/// Which rows a pass through the model computes: those of the context, or those of a query.
enum class RowKind {
  kContext,  ///< rows of prefix and pieces, in `encode`
  kQuery,    ///< rows of a query, in `read`
};

/// What attention did in one layer of one pass.
///
/// Sets of context rows: the prefix, own segment. Sets of query rows: the prefix, piece 1 .. piece
/// P, own keys.
struct Observation {
  int64_t layer = 0;               ///< counted from 0
  int64_t layers = 0;              ///< of the model
  RowKind kind = RowKind::kQuery;  ///< which rows these are
  int64_t first_row = 0;           ///< rows of this kind that earlier passes had
  /// Where each query of a batch begins among the rows, and the end: 0, ..., rows.
  std::vector<int64_t> queries;

  /// The merged row; with ProbeNeeds::rows only (entropies with ProbeNeeds::entropy), as are the
  /// log weights.
  Row row;
  std::optional<torch::Tensor> log_weight;  ///< [batch, heads, rows, sets]; nothing where all are 0

  /// As attention saw them, rotated, with ProbeNeeds::query_keys_values: [batch, heads, rows,
  /// features].
  torch::Tensor query;
  /// The same of keys: a list of [batch or 1, kv_heads, keys, features] that together holds the
  /// keys of the sets.
  std::vector<torch::Tensor> keys;
  std::vector<torch::Tensor> values;  ///< as `keys`
};

}  // namespace motet
