#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "motet/reading/key_source.h"
#include "motet/reading/reading.h"

namespace motet {

/// Which bulks a reading left unread (ReadingNeeds::bulk).
struct BulkRows {
  Window window;                            ///< that every row read
  WindowSets sets;                          ///< the pieces, split
  std::optional<torch::Tensor> log_weight;  ///< of `sets.all`, always there

  /// Whether a row read a piece's bulk, bool, [batch, heads, query, pieces].
  torch::Tensor read() const;
};

/// What a reading decided, and the rows that came of it.
struct ReadRows {
  Row row;  ///< the merged row
  /// As in Reading::decide; nothing also where `bulk` says what was decided.
  std::optional<torch::Tensor> log_weight;
  std::optional<torch::Tensor> threshold;    ///< as in Reading::threshold, and RowOptions'
  std::optional<torch::Tensor> factor = {};  ///< as in Reading::row_factor, and RowOptions'
  std::optional<BulkRows> bulk = {};         ///< with ReadingNeeds::bulk, where there are pieces
};

/// What `read_rows` makes of keys and sets for a reading that decides about bulks, for a caller who
/// keeps it from call to call.
struct KnownBulks {
  /// As `model_bulks` makes them, of keys as they are. One of bulks whose sets have unlike factors
  /// is made anew.
  const KeyEstimates* estimates = nullptr;
  const WindowSets* sets = nullptr;  ///< as `split_window` makes them
};

/// The rows of a query, or of several, in one layer.
struct QueryRows {
  torch::Tensor query;           ///< [batch, heads, rows, features]
  KeySets sets;                  ///< prefix | pieces | own, as `read_sets` makes them
  std::vector<int64_t> queries;  ///< as PieceScores::queries
  int64_t layer = 0;             ///< of the model, from 0
};

/// Rows as `reading` has them: score, decide, attend, in one call where reading and keys allow it.
/// Errors as of `attend`.
ReadRows read_rows(const Reading& reading, const QueryRows& rows, const KeySource& keys,
                   const RowOptions& options = {}, const KnownBulks& known = {});

/// The same of keys and values that are there; arguments as of `attend`.
ReadRows read_rows(const Reading& reading, const torch::Tensor& query, torch::TensorList keys,
                   torch::TensorList values, const KeySets& sets,
                   const std::vector<int64_t>& queries, const RowOptions& options = {},
                   int64_t layer = 0, const KnownBulks& known = {});

/// The bulks of pieces as a reading estimates them: one for each, or one for all of them together.
/// `moments` are those of each piece's bulk.
KeyEstimates model_bulks(const BulkNeeds& needs, const std::vector<KeyMoments>& moments,
                         double scale, torch::ScalarType dtype);

/// The same from their bounds (BulkMass::kBounded).
KeyEstimates model_bulks(const BulkNeeds& needs, const std::vector<KeyBounds>& bounds, double scale,
                         torch::ScalarType dtype);

}  // namespace motet
