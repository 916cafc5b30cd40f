#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "motet/attention/rows.h"
#include "motet/attention/sets.h"

namespace motet {

/// A few rows of the attention matrix itself, for pictures: the probability of every key, [batch,
/// heads, rows, keys], in the dtype of `lse`; 0 for a key that a row does not see. `rows` are rows
/// of `query`, and `lse` is that of `attend` with these arguments, [batch, heads, query]. Memory
/// goes with rows times keys. Throws Error for a row that is not there.
torch::Tensor probabilities(const torch::Tensor& query, torch::TensorList keys, const KeySets& sets,
                            const std::optional<torch::Tensor>& log_weight,
                            const torch::Tensor& lse, const std::vector<int64_t>& rows,
                            const RowOptions& options = {});

}  // namespace motet
