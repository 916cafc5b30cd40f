#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "motet/attention/score_rule.h"
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
                               const torch::Tensor& values, const ScoreRule& rule) = 0;
  /// The number of positions that rows and keys of this pass have, and of those that go on from it,
  /// where it knows them; LongRope heeds it.
  virtual int64_t reach() const { return 0; }
  /// Runs one block over the residual stream and returns the next. A pass that trains may keep less
  /// of it for the backward pass than LibTorch would.
  virtual torch::Tensor run(const std::shared_ptr<Block>& block, const torch::Tensor& x,
                            const Rotation& rotation);
};

/// x W^T + b. In low precision the sums are fp32, also on processors without instructions for it.
class Linear : public torch::nn::Module {
 public:
  /// Parameters are left uninitialised.
  Linear(int64_t in, int64_t out, bool bias, const torch::TensorOptions& options = {});
  /// [..., in] to [..., out].
  torch::Tensor forward(const torch::Tensor& x) const;

  torch::Tensor weight;  ///< [out, in]
  torch::Tensor bias;    ///< [out], or undefined
};

/// What each of these layers makes of x, to the bit as its `forward`, in their order; a few rows
/// wait for threads but once. x is [..., in], in the layers' dtype; [..., out] each, in that dtype.
/// Layers of another `in` are LibTorch's error.
std::vector<torch::Tensor> forward_together(const torch::Tensor& x,
                                            std::initializer_list<const Linear*> layers);

/// x W^T (+ b): what Linear does, for a weight that belongs to somebody else. x is [..., in]; [...,
/// out] in x's dtype, or fp32.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias,
                     bool single_precision_out = false);

/// A norm over the width. Takes the fp32 residual stream, gives the model's dtype.
class Norm : public torch::nn::Module {
 public:
  /// [..., width] to the same.
  virtual torch::Tensor forward(const torch::Tensor& x) const = 0;
  /// The weight that leaves lengths alone, which training from scratch begins with.
  virtual double neutral_weight() const { return 1; }
};

/// x / rms(x) times a weight, or a weight and an offset. Zhang & Sennrich 2019, arXiv 1910.07467.
class RmsNorm : public Norm {
 public:
  /// Parameters are left uninitialised.
  RmsNorm(int64_t width, double epsilon, const torch::TensorOptions& options = {},
          double offset = 0);
  torch::Tensor forward(const torch::Tensor& x) const override;
  double neutral_weight() const override { return 1 - offset_; }

  torch::Tensor weight;  ///< [width]

 private:
  double epsilon_;
  double offset_;
};

/// (x - mean(x)) / deviation(x) times a weight, plus a bias. Ba et al. 2016, arXiv 1607.06450.
class LayerNorm : public Norm {
 public:
  /// Parameters are left uninitialised.
  LayerNorm(int64_t width, double epsilon, const torch::TensorOptions& options = {});
  torch::Tensor forward(const torch::Tensor& x) const override;

  torch::Tensor weight;  ///< [width]
  torch::Tensor bias;    ///< [width]

 private:
  double epsilon_;
};

/// What an MLP does to each number.
using Activation = std::function<torch::Tensor(const torch::Tensor&)>;
/// Hugging Face's activation of this name. Throws Error, with `where`, for one that is not known
/// here.
Activation activation_named(const std::string& name, const std::string& where);

/// What a gated MLP makes of two products of its rows, alike in shape: activation(gate) * up. May
/// write over `gate`. Shazeer 2020, arXiv 2002.05202.
using Gate = std::function<torch::Tensor(const torch::Tensor& gate, const torch::Tensor& up)>;
/// That of the activation of this name. Throws as `activation_named` does.
Gate gate_named(const std::string& name, const std::string& where);

/// One layer. A family brings its own.
class Block : public torch::nn::Module {
 public:
  /// `x` is the residual stream, [batch, rows, width], fp32 (float64 in float64 models), and so is
  /// what comes back.
  virtual torch::Tensor forward(const torch::Tensor& x, const Rotation& rotation,
                                Attention& attention) const = 0;

 protected:
  /// A product, registered under this name.
  std::shared_ptr<Linear> make_linear(const std::string& name, int64_t in, int64_t out,
                                      bool bias = false);
  /// A norm, registered under this name.
  std::shared_ptr<RmsNorm> make_rms_norm(const std::string& name, int64_t width, double epsilon,
                                         double offset = 0);
  /// A norm, registered under this name.
  std::shared_ptr<LayerNorm> make_layer_norm(const std::string& name, int64_t width,
                                             double epsilon);
};

/// [batch, rows, heads * features] to [batch, heads, rows, features].
torch::Tensor split_heads(const torch::Tensor& x, int64_t heads);
/// [batch, heads, rows, features] to [batch, rows, heads * features].
torch::Tensor join_heads(const torch::Tensor& x);

}  // namespace motet
