#pragma once

#include <torch/types.h>

#include "motet/model/products.h"

namespace motet {

/// x W^T + b, with a gradient: `weight` [out, in], `bias` [out] or undefined, x [..., in] in the
/// weight's dtype; [..., out] in `type`, which is that dtype or wider.
torch::Tensor multiply(const torch::Tensor& x, const torch::Tensor& weight,
                       const torch::Tensor& bias, torch::ScalarType type);

}  // namespace motet
