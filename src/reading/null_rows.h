#pragma once

#include <torch/types.h>

#include <optional>

#include "motet/reading/key_source.h"
#include "motet/reading/reading.h"

/// Rows that see a set without keys behind the others (ReadingNeeds::null).
namespace motet {

/// Scores of sets with a null set behind them.
void add_null(PieceScores& scores);

/// Of log weights those of `sets`, without that of a null set behind them.
std::optional<torch::Tensor> of_keys(const std::optional<torch::Tensor>& log_weight,
                                     const KeySets& sets);

/// A row over `sets` and, where `log_weight` has one set more than these, a null set behind them:
/// it is merged with a set of lse 0, out 0 and entropy 0, by its log weight. Arguments and errors
/// as of `attend`.
Row attend_with_null(const KeySource& keys, const torch::Tensor& query, const KeySets& sets,
                     const std::optional<torch::Tensor>& log_weight, const RowOptions& options);

}  // namespace motet
