#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "motet/eval/ensemble.h"
#include "motet/eval/mean.h"
#include "motet/model/decoder.h"

namespace motet {

/// How well rows predict the tokens that follow them, and how far they are from a reference's
/// predictions.
struct Predictions {
  torch::Tensor nll;                ///< -ln p(token), [rows], float64, nats
  torch::Tensor top1;               ///< 1 where the token is the most likely, [rows], float64
  std::optional<torch::Tensor> kl;  ///< KL(reference || rows), [rows], float64, nats
  std::optional<torch::Tensor>
      same_top1;  ///< 1 where both find the same token most likely, [rows], float64
};

/// `hidden` is [rows, width], after the last norm; `targets` are the tokens that follow each row;
/// `reference` is like `hidden`. Logits are made a few rows at a time. Throws Error where the
/// numbers of rows differ.
Predictions predict(const Decoder& model, const torch::Tensor& hidden,
                    const std::vector<int64_t>& targets,
                    const std::optional<torch::Tensor>& reference = {});

/// The same of an ensemble: `hidden` are the rows of each member, in the order of members_of.
Predictions predict(const Decoder& model, const Ensemble& ensemble,
                    const std::vector<torch::Tensor>& hidden, const std::vector<int64_t>& targets,
                    const std::optional<torch::Tensor>& reference = {});

}  // namespace motet
