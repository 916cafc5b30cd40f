#pragma once

#include <torch/types.h>

#include <optional>
#include <vector>

#include "motet/attention/sets.h"

/// Rows over sets of keys from LibTorch's own operations: any device, any dtype, one block of rows
/// by keys at a time.
namespace motet::portable {

/// The checked arguments of `attend` and `score`. `values` is empty where no out is wanted.
struct Arguments {
  torch::Tensor query;
  std::vector<torch::Tensor> keys;
  std::vector<torch::Tensor> values;
  KeySets sets;
  std::optional<torch::Tensor> log_weight;
  std::optional<torch::Tensor> threshold;
  double scale = 1;
  bool entropy = true;
  int64_t top = 0;
};

/// As in Row and Scores; what was not asked for is undefined.
struct Result {
  torch::Tensor out, lse, entropy;
  torch::Tensor set_lse, set_entropy, set_top;
};

Result forward(const Arguments& arguments);

/// Gradients of a loss for the inputs of `forward`, from its `result` and the gradients of the loss
/// for each of that result's tensors (undefined where there is none). Blocks of scores are computed
/// again, none is kept.
struct Gradients {
  torch::Tensor query;
  std::vector<torch::Tensor> keys;
  std::vector<torch::Tensor> values;
  torch::Tensor log_weight;  // undefined where there is no log_weight
};

Gradients backward(const Arguments& arguments, const Result& result, const Result& gradient);

}  // namespace motet::portable
