#pragma once

#include <ATen/ATen.h>
#include <torch/types.h>

#include <algorithm>
#include <initializer_list>

namespace motet {

/// Whether a loop over their elements does for all of these: fp32 on the CPU, without gaps, and no
/// gradient is wanted. An operation of LibTorch costs as much as some thousand elements.
inline bool is_plain(std::initializer_list<torch::Tensor> tensors) {
  return std::all_of(tensors.begin(), tensors.end(), [](const torch::Tensor& x) {
    return x.is_cpu() && x.scalar_type() == torch::kFloat32 && x.is_contiguous() &&
           !(at::GradMode::is_enabled() && x.requires_grad());
  });
}

}  // namespace motet
