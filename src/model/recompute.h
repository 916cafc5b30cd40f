#pragma once

#include <torch/types.h>

#include <memory>
#include <vector>

#include "motet/model/block.h"

namespace motet {

/// A block as a function of the residual stream: what comes out of it, the stream first.
class BlockCall {
 public:
  virtual ~BlockCall() = default;
  /// The same for the same stream, however often it is called.
  virtual std::vector<torch::Tensor> operator()(const torch::Tensor& x) const = 0;
  /// What it is differentiable in beside the stream.
  virtual std::vector<torch::Tensor> parameters() const = 0;
};

/// `call(x)`, of which only x is kept: the backward pass calls it again. Chen et al. 2016, arXiv
/// 1604.06174. Every output carries its own gradient.
std::vector<torch::Tensor> recompute(std::shared_ptr<const BlockCall> call, const torch::Tensor& x);

}  // namespace motet
