#pragma once

#include <torch/types.h>

#include <optional>
#include <vector>

#include "kernel/set_choice.h"
#include "motet/attention/budget.h"
#include "motet/attention/sets.h"

/// What every way of computing rows (see Kernel) takes and gives.
namespace motet {

/// The checked arguments of `attend` and `score`. `values` is empty where no out is wanted.
struct RowArguments {
  torch::Tensor query;
  std::vector<torch::Tensor> keys;
  std::vector<torch::Tensor> values;
  KeySets sets;
  std::optional<torch::Tensor> log_weight;
  std::optional<torch::Tensor> threshold;
  double scale = 1;  // ScoreRule's
  std::optional<double> cap;
  /// RowOptions::factor under a soft cap, [batch, heads, query]; without one it is in the query.
  std::optional<torch::Tensor> factor;
  bool entropy = true;
  int64_t top = 0;
  bool counts_first = true;  // KeyBudget's
  torch::Tensor budget;  // k of each row, [batch, heads, query], int64; undefined: none is wanted
  SetChoice choice;      // by the `top` largest scores of each set
};

/// As in Row and Scores; what was not asked for is undefined.
struct RowResult {
  torch::Tensor out, lse, entropy;
  torch::Tensor set_lse, set_entropy, set_top;
  torch::Tensor top_mass, top_threshold;
  torch::Tensor log_weight;  // what RowArguments::choice made
};

/// Gradients of a loss for the tensors of RowArguments.
struct RowGradients {
  torch::Tensor query;
  std::vector<torch::Tensor> keys;
  std::vector<torch::Tensor> values;
  torch::Tensor log_weight;  // undefined where there is no log_weight
};

}  // namespace motet
