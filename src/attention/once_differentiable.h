#pragma once

#include <ATen/ATen.h>
#include <torch/csrc/autograd/functions/basic_ops.h>

#include <string>
#include <utility>

namespace motet {

/// What a backward pass gives, so that a derivative of it is an error; autograd would take it for
/// constant without a word. As `once_differentiable` of PyTorch.
inline torch::autograd::variable_list once_differentiable(
    const char* where, torch::autograd::variable_list gradients) {
  if (!at::GradMode::is_enabled()) {  // it is on where create_graph was asked for
    return gradients;
  }
  for (auto& gradient : gradients) {
    if (gradient.defined()) {
      gradient = gradient.detach().requires_grad_();
    }
  }
  torch::autograd::DelayedError error(
      std::string(where) + ": differentiable once; a second derivative (create_graph) is not known",
      static_cast<int64_t>(gradients.size()));
  return error.apply(std::move(gradients));
}

}  // namespace motet
