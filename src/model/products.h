#pragma once

#include <torch/types.h>

#include <span>
#include <vector>

#include "kernel/few_rows.h"
#include "motet/model/products.h"

namespace motet {

/// x W^T + b for each map, with a gradient: x [..., in] in the weights' dtype; [..., out] each,
/// in `type`, which is that dtype or wider.
std::vector<torch::Tensor> multiply(const torch::Tensor& x, std::span<const Affine> maps,
                                    torch::ScalarType type);

}  // namespace motet
