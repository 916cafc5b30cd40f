#include "motet/model/block.h"

#include <ATen/ATen.h>
#include <torch/nn/functional.h>

#include <map>

#include "kernel/elementwise.h"
#include "model/products.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

torch::ScalarType statistics_type(const Tensor& x) {
  return x.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

}  // namespace

Tensor Attention::run(const std::shared_ptr<Block>& block, const Tensor& x,
                      const Rotation& rotation) {
  return block->forward(x, rotation, *this);
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias,
              bool single_precision_out) {
  const Affine map{weight, bias};
  return multiply(x, {&map, 1}, single_precision_out ? statistics_type(x) : x.scalar_type())[0];
}

Linear::Linear(int64_t in, int64_t out, bool with_bias, const torch::TensorOptions& options) {
  weight = register_parameter("weight", torch::empty({out, in}, options));
  if (with_bias) {
    bias = register_parameter("bias", torch::empty({out}, options));
  }
}

Tensor Linear::forward(const Tensor& x) const { return linear(x, weight, bias); }

std::vector<Tensor> forward_together(const Tensor& x, std::initializer_list<const Linear*> layers) {
  std::vector<Affine> maps;
  for (const auto* layer : layers) {
    maps.push_back({layer->weight, layer->bias});
  }
  return multiply(x, maps, x.scalar_type());
}

RmsNorm::RmsNorm(int64_t width, double epsilon, const torch::TensorOptions& options, double offset)
    : epsilon_(epsilon), offset_(offset) {
  weight = register_parameter("weight", torch::empty({width}, options));
}

Tensor RmsNorm::forward(const Tensor& x) const {
  if (offset_ == 0) {
    return rms_norm(x, weight, epsilon_);
  }
  const auto wide = weight.to(x.scalar_type()) + offset_;
  return rms_norm(x, wide, epsilon_).to(weight.scalar_type());
}

LayerNorm::LayerNorm(int64_t width, double epsilon, const torch::TensorOptions& options)
    : epsilon_(epsilon) {
  weight = register_parameter("weight", torch::empty({width}, options));
  bias = register_parameter("bias", torch::empty({width}, options));
}

Tensor LayerNorm::forward(const Tensor& x) const {
  return torch::layer_norm(x, {x.size(-1)}, weight.to(x.scalar_type()), bias.to(x.scalar_type()),
                           epsilon_)
      .to(weight.scalar_type());
}

Activation activation_named(const std::string& name, const std::string& where) {
  const auto gelu = [](const char* form) {
    return [form](const Tensor& x) { return at::gelu(x, form); };
  };
  static const std::map<std::string, Activation> kKnown{
      {"silu", [](const Tensor& x) { return at::silu(x); }},
      {"swish", [](const Tensor& x) { return at::silu(x); }},
      {"relu", [](const Tensor& x) { return at::relu(x); }},
      {"gelu", gelu("none")},
      {"gelu_new", gelu("tanh")},
      {"gelu_pytorch_tanh", gelu("tanh")},
      {"gelu_fast", gelu("tanh")},
  };
  const auto found = kKnown.find(name);
  require(found != kKnown.end(), where, ": the activation '", name,
          "' is not known here; silu, relu, gelu, gelu_new and gelu_pytorch_tanh are");
  return found->second;
}

Gate gate_named(const std::string& name, const std::string& where) {
  const auto activation = activation_named(name, where);
  if (name == "silu" || name == "swish") {
    return silu_gate;
  }
  return [activation](const Tensor& gate, const Tensor& up) { return activation(gate) * up; };
}

std::shared_ptr<Linear> Block::make_linear(const std::string& name, int64_t in, int64_t out,
                                           bool bias) {
  return register_module(name, std::make_shared<Linear>(in, out, bias));
}

std::shared_ptr<RmsNorm> Block::make_rms_norm(const std::string& name, int64_t width,
                                              double epsilon, double offset) {
  return register_module(name,
                         std::make_shared<RmsNorm>(width, epsilon, torch::TensorOptions(), offset));
}

std::shared_ptr<LayerNorm> Block::make_layer_norm(const std::string& name, int64_t width,
                                                  double epsilon) {
  return register_module(name, std::make_shared<LayerNorm>(width, epsilon));
}

Tensor split_heads(const Tensor& x, int64_t heads) {
  return x.view({x.size(0), x.size(1), heads, x.size(2) / heads}).transpose(1, 2);
}

Tensor join_heads(const Tensor& x) { return x.transpose(1, 2).flatten(2, 3); }

}  // namespace motet
