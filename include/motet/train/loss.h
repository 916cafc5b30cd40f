#pragma once

#include <torch/types.h>

#include "motet/model/decoder.h"

namespace motet {

/// Mean of -ln p(target), nats, over the rows that have a target; differentiable once. `hidden` is
/// [batch, rows, width], after the last norm; `targets` [batch, rows], int64, Cut::kNone where
/// there is none. At most 512 rows have their logits at a time, however many there are.
/// Throws Error where the shapes differ and where no row has a target.
torch::Tensor next_token_loss(const Decoder& model, const torch::Tensor& hidden,
                              const torch::Tensor& targets);

/// Mean over rows of the divergence of predictions from a teacher's, sum p ln(p / q), nats (Hinton
/// et al. 2015, arXiv 1503.02531); differentiable once in `hidden` and the head, the teacher being
/// constant. Both are rows of the model after the last norm, [rows, width]. Logits as in
/// next_token_loss. Throws Error where the shapes differ.
torch::Tensor divergence_loss(const Decoder& model, const torch::Tensor& teacher,
                              const torch::Tensor& hidden);

}  // namespace motet
