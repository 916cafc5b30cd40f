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

}  // namespace motet
