#include <ATen/ATen.h>

#include <cmath>

#include "kernel/elementwise.h"
#include "model/families.h"
#include "motet/error.h"

/// GPT-NeoX: Black et al. 2022, arXiv 2204.06745; Pythia: Biderman et al. 2023, arXiv 2304.01373.
namespace motet {
namespace gpt_neox {
namespace {

using torch::Tensor;

class GptNeoxBlock : public Block {
 public:
  GptNeoxBlock(const Config& config, int64_t layer) : config_(config), layer_(layer) {
    norm_attention_ = make_layer_norm("norm_attention", config.width, config.norm_epsilon);
    norm_mlp_ = make_layer_norm("norm_mlp", config.width, config.norm_epsilon);
    query_key_value_ =
        make_linear("query_key_value", config.width, 3 * config.width, config.attention_bias);
    out_ = make_linear("out", config.width, config.width, config.attention_bias);
    up_ = make_linear("up", config.width, config.inner, true);
    down_ = make_linear("down", config.inner, config.width, true);
    activation_ = activation_named(config.activation, "config.json");
  }

  Tensor forward(const Tensor& x, const Rotation& rotation, Attention& attention) const override {
    const auto h = add_to_stream(x, attend(norm_attention_->forward(x), rotation, attention));
    const auto& read = config_.parallel ? x : h;
    return add_to_stream(h, down_->forward(activation_(up_->forward(norm_mlp_->forward(read)))));
  }

 private:
  Tensor attend(const Tensor& x, const Rotation& rotation, Attention& attention) const {
    // Head by head: query, key and value of one lie together.
    const auto parts = split_heads(query_key_value_->forward(x), config_.heads).chunk(3, -1);
    const auto scale = 1 / std::sqrt(static_cast<double>(config_.features));
    return out_->forward(
        join_heads(attention.attend(layer_, rotate(parts[0], rotation), rotate(parts[1], rotation),
                                    parts[2].contiguous(), {.scale = scale})));
  }

  Config config_;
  int64_t layer_;
  std::shared_ptr<LayerNorm> norm_attention_, norm_mlp_;
  std::shared_ptr<Linear> query_key_value_, out_, up_, down_;
  Activation activation_;
};

Config configure(const nlohmann::json& json, const std::string& where) {
  const ConfigReader read(json, where);
  Config config;
  config.vocabulary = read.size("vocab_size", 50432);
  config.width = read.size("hidden_size", 6144);
  config.layers = read.size("num_hidden_layers", 44);
  config.heads = read.size("num_attention_heads", 64);
  config.kv_heads = config.heads;
  require(config.width % config.heads == 0, where, ": hidden_size ", config.width,
          " does not divide into num_attention_heads ", config.heads);
  config.features = config.width / config.heads;
  config.inner = read.size("intermediate_size", 24576);
  config.positions = read.size("max_position_embeddings", 2048);
  config.norm_epsilon = read.number("layer_norm_eps", 1e-5);
  config.activation = read.text("hidden_act", "gelu");
  config.tied = read.flag("tie_word_embeddings", false);
  config.attention_bias = config.attention_out_bias = read.flag("attention_bias", true);
  config.mlp_bias = true;
  config.parallel = read.flag("use_parallel_residual", true);
  // Hugging Face reads theta and share of this family under these names only.
  auto source = json;
  source.erase("rope_theta");
  source.erase("partial_rotary_factor");
  config.rope = rope_from(source, where,
                          {.theta = read.positive("rotary_emb_base", 10000),
                           .share = read.number("rotary_pct", 0.25),
                           .positions = config.positions,
                           .partial = true});
  activation_named(config.activation, where);
  return config;
}

std::vector<TensorName> names(const Config&) {
  std::vector<TensorName> names{{"tokens.weight", "gpt_neox.embed_in.weight"},
                                {"norm.weight", "gpt_neox.final_layer_norm.weight"},
                                {"norm.bias", "gpt_neox.final_layer_norm.bias"},
                                {"head.weight", "embed_out.weight"}};
  const auto layer = [&](const std::string& ours, const std::string& theirs) {
    for (const auto* part : {".weight", ".bias"}) {
      names.push_back({"layers.{}." + ours + part, "gpt_neox.layers.{}." + theirs + part});
    }
  };
  layer("norm_attention", "input_layernorm");
  layer("norm_mlp", "post_attention_layernorm");
  layer("query_key_value", "attention.query_key_value");
  layer("out", "attention.dense");
  layer("up", "mlp.dense_h_to_4h");
  layer("down", "mlp.dense_4h_to_h");
  return names;
}

}  // namespace
}  // namespace gpt_neox

Family gpt_neox_family() {
  return {.model_type = "gpt_neox",
          .configure = gpt_neox::configure,
          .make_block =
              [](const Config& config, int64_t layer) {
                return std::make_shared<gpt_neox::GptNeoxBlock>(config, layer);
              },
          .make_norm =
              [](const Config& config) {
                return std::make_shared<LayerNorm>(config.width, config.norm_epsilon,
                                                   torch::TensorOptions());
              },
          .names = gpt_neox::names,
          .prefix = "gpt_neox.",
          .aliases = {{"embed_out.weight", "lm_head.weight"}},
          .ignored = {".attention.bias", ".attention.masked_bias", ".attention.rotary_emb.inv_freq",
                      ".attention.rotary_emb.cos_cached", ".attention.rotary_emb.sin_cached"},
          .residual = {".out.weight", ".down.weight"},
          .end_token = 2};
}

}  // namespace motet
