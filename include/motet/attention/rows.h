#pragma once

#include <torch/types.h>

#include <optional>
#include <vector>

#include "motet/attention/budget.h"
#include "motet/attention/score_rule.h"
#include "motet/attention/sets.h"

namespace motet {

/// How a row's probability and entropy divide among its sets.
struct RowParts {
  torch::Tensor mass;     ///< of each set, w_m = exp(set_lse_m - lse), [batch, heads, query, sets]
  torch::Tensor between;  ///< -sum_m w_m ln w_m, [batch, heads, query], nats
  torch::Tensor within;   ///< sum_m w_m entropy_m, [batch, heads, query], nats
};

/// Attention rows and what merging them needs. Statistics are fp32, or float64 for float64 inputs.
///
/// All of it is of the effective scores: factor, log weight and threshold included. A set that a
/// row does not see, or that is dropped for it, is the empty set: out 0, lse -inf, entropy 0.
struct Row {
  torch::Tensor out;  ///< sum_j p_j v_j, [batch, heads, query, features], in the dtype of the query
  torch::Tensor lse;  ///< ln sum_j exp(s_j), [batch, heads, query], nats
  torch::Tensor entropy;  ///< -sum_j p_j ln p_j, [batch, heads, query], nats, within [0, ln keys]
  torch::Tensor
      set_lse;  ///< lse of each set, its log weight added, [batch, heads, query, sets], nats
  torch::Tensor set_entropy;  ///< entropy inside each set, [batch, heads, query, sets], nats
  /// The largest scores of each set, falling, -inf where there are fewer, NaN first where one is;
  /// without log weights, and undefined unless asked for. [batch, heads, query, sets, top]
  torch::Tensor set_top;
  /// The probability of a row's largest keys, sum of p_j over T (see KeyBudget), within (0, 1];
  /// exactly 1 where T is all that the row sees. Undefined unless asked for. [batch, heads, query]
  torch::Tensor top_mass;
  /// Midway between the smallest effective score in T and the largest outside it, -inf where T is
  /// all that the row sees: as RowOptions::threshold it keeps just T. Not differentiable, and
  /// undefined unless top_mass is there. [batch, heads, query]
  torch::Tensor top_threshold;

  /// The expected score of each row, sum_j p_j s_j, in nats. [batch, heads, query]
  torch::Tensor mean() const { return lse - entropy; }
  /// The probability of each set, w_m = exp(set_lse_m - lse). [batch, heads, query, sets]
  torch::Tensor mass() const;
  /// How much the row hesitates between sets, -sum_m w_m ln w_m, in nats. [batch, heads, query]
  torch::Tensor between() const;
  /// How much it hesitates inside them, sum_m w_m entropy_m, in nats. [batch, heads, query]
  torch::Tensor within() const;
  /// All three in one pass. `within` is undefined where there are no entropies.
  RowParts parts() const;
};

/// Options of `attend` and `score`.
struct RowOptions {
  ScoreRule rule = {};  ///< from q.k to a score
  /// Multiplies all scores of a row, beside the factors of its sets (KeySets::factor) and like them
  /// after a soft cap: above 0, constant in the backward pass. Broadcast to [batch, heads, query].
  std::optional<torch::Tensor> factor = {};
  /// Effective scores below a row's threshold are dropped. [batch, heads, query]
  std::optional<torch::Tensor> threshold = {};
  /// Whether entropies are wanted; without them `entropy` and `set_entropy` are undefined tensors.
  bool entropy = true;
  /// How many of the largest scores of each set are wanted. Not differentiable.
  int64_t top = 0;
  /// Whose probability is wanted as `top_mass`; T is constant in the backward pass.
  KeyBudget budget = {};
};

/// Attention rows over sets of keys: softmax(scale Q K^T + log_weight) V, and what merging needs.
/// Vaswani et al. 2017, "Attention Is All You Need", eq. 1.
///
/// `query` is [batch, heads, query, features]. `keys` and `values` are one tensor each, or lists of
/// tensors that are read as if laid end to end, never copied: [batch or 1, kv_heads, keys,
/// features], where kv_heads divides heads (query head h reads head h / (heads / kv_heads)) and a
/// batch of 1 serves every query of the batch. No span may cross from one tensor of a list into the
/// next. `log_weight` is [batch, heads, query, sets]: 0 keeps a set, -inf drops it (its keys then
/// do not matter, not even NaN), other values shift its scores. Accumulates in fp32 (float64 for
/// float64 inputs), independent of the number of threads; memory beyond inputs and outputs is
/// bounded. Differentiable once in query, keys, values and log_weight through every output but
/// `set_top` and `top_threshold`, and through several at once. Throws Error without values, and
/// when the shapes do not fit each other.
Row attend(const torch::Tensor& query, torch::TensorList keys, torch::TensorList values,
           const KeySets& sets, const std::optional<torch::Tensor>& log_weight = {},
           const RowOptions& options = {});

}  // namespace motet
