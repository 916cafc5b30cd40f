#pragma once

#include <torch/types.h>

#include <optional>
#include <vector>

#include "kernel/arguments.h"
#include "motet/attention/rows.h"

namespace motet {

/// The arguments of `attend` and its like, once they fit each other. Throws Error, which begins
/// with `where`, when they do not. `values` is empty where no out is wanted.
RowArguments checked(const char* where, const torch::Tensor& query, torch::TensorList keys,
                     torch::TensorList values, const KeySets& sets,
                     const std::optional<torch::Tensor>& log_weight, const RowOptions& options);

/// The tensors that a row is differentiable in: query, keys ..., values ..., log weight.
std::vector<torch::Tensor> inputs_of(const RowArguments& arguments);
bool wants_gradient(const std::vector<torch::Tensor>& inputs);

}  // namespace motet
