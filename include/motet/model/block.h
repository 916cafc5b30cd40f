#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "motet/model/config.h"
#include "motet/model/rope.h"

namespace motet {

class Block;

/// How the rows of one pass through the layers see keys. It is all that differs between encoding,
/// reading and training.
class Attention {
 public:
  virtual ~Attention() = default;
  /// `query` is [batch, heads, rows, features], `keys` and `values` are [batch, kv_heads, rows,
  /// features] of the same tokens, rotated. Returns out, [batch, heads, rows, features].
  virtual torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& keys,
                               const torch::Tensor& values, double scale) = 0;
  /// Runs one block over the residual stream and returns the next. A pass that trains may keep less
  /// of it for the backward pass than LibTorch would.
  virtual torch::Tensor run(const std::shared_ptr<Block>& block, const torch::Tensor& x,
                            const Rotation& rotation);
};

/// x W^T + b. In low precision the sums are fp32, also on processors without instructions for it.
class Linear : public torch::nn::Module {
 public:
  Linear(int64_t in, int64_t out, bool bias, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x) const;

  torch::Tensor weight;  ///< [out, in]
  torch::Tensor bias;    ///< [out], or undefined
};

/// x W^T (+ b): what Linear does, for a weight that belongs to somebody else. x is [..., in]; [...,
/// out] in x's dtype, or fp32.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                     bool single_precision_out = false);

/// A norm over the width. Takes the fp32 residual stream, gives the model's dtype.
class Norm : public torch::nn::Module {
 public:
  virtual torch::Tensor forward(const torch::Tensor& x) const = 0;
};

/// Zhang & Sennrich 2019, arXiv 1910.07467.
class RmsNorm : public Norm {
 public:
  RmsNorm(int64_t width, double epsilon, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x) const override;

  torch::Tensor weight;  ///< [width]

 private:
  double epsilon_;
};

/// Ba et al. 2016, arXiv 1607.06450.
class LayerNorm : public Norm {
 public:
  LayerNorm(int64_t width, double epsilon, const torch::TensorOptions& options);
  torch::Tensor forward(const torch::Tensor& x) const override;

  torch::Tensor weight, bias;  ///< [width]

 private:
  double epsilon_;
};

/// Hugging Face's activation of this name. Throws Error, with `where`, for one that is not known
/// here.
using Activation = std::function<torch::Tensor(const torch::Tensor&)>;
Activation activation_named(const std::string& name, const std::string& where);

/// One layer. A family brings its own.
class Block : public torch::nn::Module {
 public:
  /// `x` is the residual stream, [batch, rows, width], fp32 (float64 in float64 models), and so is
  /// what comes back.
  virtual torch::Tensor forward(const torch::Tensor& x, const Rotation& rotation,
                                Attention& attention) const = 0;
};

/// [batch, rows, heads * features] to [batch, heads, rows, features], and back.
torch::Tensor split_heads(const torch::Tensor& x, int64_t heads);
torch::Tensor join_heads(const torch::Tensor& x);

}  // namespace motet
