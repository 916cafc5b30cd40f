#include <ATen/ATen.h>

#include <cmath>

#include "kernel/elementwise.h"
#include "model/families.h"
#include "motet/error.h"

/// GPT-2: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners".
namespace motet {
namespace gpt2 {
namespace {

using torch::Tensor;

class Gpt2Block : public Block {
 public:
  Gpt2Block(const Config& config, int64_t layer) : config_(config), layer_(layer) {
    norm_attention_ = make_layer_norm("norm_attention", config.width, config.norm_epsilon);
    query_key_value_ = make_linear("query_key_value", config.width, 3 * config.width, true);
    out_ = make_linear("out", config.width, config.width, true);
    norm_mlp_ = make_layer_norm("norm_mlp", config.width, config.norm_epsilon);
    up_ = make_linear("up", config.width, config.inner, true);
    down_ = make_linear("down", config.inner, config.width, true);
    activation_ = activation_named(config.activation, "config.json");
  }

  Tensor forward(const Tensor& x, const Rotation& /*learned*/,
                 Attention& attention) const override {
    const auto h = add_to_stream(x, attend(norm_attention_->forward(x), attention));
    return add_to_stream(h, down_->forward(activation_(up_->forward(norm_mlp_->forward(h)))));
  }

 private:
  Tensor attend(const Tensor& x, Attention& attention) const {
    const auto parts = query_key_value_->forward(x).chunk(3, -1);
    auto scale = config_.scale_scores ? 1 / std::sqrt(static_cast<double>(config_.features)) : 1.0;
    if (config_.scale_scores_by_layer) {
      scale /= static_cast<double>(layer_ + 1);
    }
    const auto heads = [&](const Tensor& part) { return split_heads(part, config_.heads); };
    return out_->forward(join_heads(attention.attend(layer_, heads(parts[0]), heads(parts[1]),
                                                     heads(parts[2]), {.scale = scale})));
  }

  Config config_;
  int64_t layer_;
  std::shared_ptr<LayerNorm> norm_attention_, norm_mlp_;
  std::shared_ptr<Linear> query_key_value_, out_, up_, down_;
  Activation activation_;
};

Config configure(const nlohmann::json& json, const std::string& where) {
  const ConfigReader read(json, where);
  require(!read.flag("add_cross_attention", false), where,
          ": add_cross_attention is not known here; a decoder alone is");
  // Hugging Face's other names of these sizes outweigh their own.
  const auto size = [&](const char* name, const char* alias, int64_t otherwise) {
    return read.absent(alias) ? read.size(name, otherwise) : read.size(alias);
  };
  Config config;
  config.vocabulary = read.size("vocab_size", 50257);
  config.width = size("n_embd", "hidden_size", 768);
  config.layers = size("n_layer", "num_hidden_layers", 12);
  config.heads = size("n_head", "num_attention_heads", 12);
  config.kv_heads = config.heads;
  require(config.width % config.heads == 0, where, ": n_embd ", config.width,
          " does not divide into n_head ", config.heads);
  config.features = config.width / config.heads;
  config.inner = read.size("n_inner", 4 * config.width, 4 * config.width);
  config.positions = size("n_positions", "max_position_embeddings", 1024);
  config.norm_epsilon = read.number("layer_norm_epsilon", 1e-5);
  config.activation = read.text("activation_function", "gelu_new");
  config.tied = read.flag("tie_word_embeddings", true);
  config.attention_bias = config.attention_out_bias = config.mlp_bias = true;
  config.scale_scores = read.flag("scale_attn_weights", true);
  config.scale_scores_by_layer = read.flag("scale_attn_by_inverse_layer_idx", false);
  activation_named(config.activation, where);
  return config;
}

std::vector<TensorName> names(const Config&) {
  std::vector<TensorName> names{{"tokens.weight", "transformer.wte.weight"},
                                {"positions.weight", "transformer.wpe.weight"},
                                {"norm.weight", "transformer.ln_f.weight"},
                                {"norm.bias", "transformer.ln_f.bias"},
                                {"head.weight", "lm_head.weight"}};
  const auto layer = [&](const std::string& ours, const std::string& theirs, bool transposed) {
    names.push_back(
        {"layers.{}." + ours + ".weight", "transformer.h.{}." + theirs + ".weight", transposed});
    names.push_back({"layers.{}." + ours + ".bias", "transformer.h.{}." + theirs + ".bias"});
  };
  layer("norm_attention", "ln_1", false);
  layer("query_key_value", "attn.c_attn", true);
  layer("out", "attn.c_proj", true);
  layer("norm_mlp", "ln_2", false);
  layer("up", "mlp.c_fc", true);
  layer("down", "mlp.c_proj", true);
  return names;
}

}  // namespace
}  // namespace gpt2

Family gpt2_family() {
  return {
      .model_type = "gpt2",
      .configure = gpt2::configure,
      .make_block = [](const Config& config,
                       int64_t layer) { return std::make_shared<gpt2::Gpt2Block>(config, layer); },
      .make_norm =
          [](const Config& config) {
            return std::make_shared<LayerNorm>(config.width, config.norm_epsilon,
                                               torch::TensorOptions());
          },
      .names = gpt2::names,
      .prefix = "transformer.",
      .ignored = {".attn.bias", ".attn.masked_bias"},
      .residual = {".out.weight", ".down.weight"},
      .end_token = 50256};
}

}  // namespace motet
