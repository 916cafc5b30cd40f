#include <ATen/ATen.h>

#include <cmath>

#include "model/families.h"
#include "motet/error.h"

/// Llama: Touvron et al. 2023, arXiv 2302.13971; grouped-query attention: Ainslie et al. 2023,
/// arXiv 2305.13245. Mistral is the same block; Qwen2 has other biases, and Qwen3 norms queries and
/// keys (Qwen3 technical report, arXiv 2505.09388).
namespace motet {
namespace llama {
namespace {

using torch::Tensor;

class LlamaBlock : public Block {
 public:
  LlamaBlock(const Config& config, int64_t layer) : config_(config), layer_(layer) {
    const auto queries = config.heads * config.features, keys = config.kv_heads * config.features;
    norm_attention_ = make_rms_norm("norm_attention", config.width, config.norm_epsilon);
    query_ = make_linear("query", config.width, queries, config.attention_bias);
    key_ = make_linear("key", config.width, keys, config.attention_bias);
    value_ = make_linear("value", config.width, keys, config.attention_bias);
    out_ = make_linear("out", queries, config.width, config.attention_out_bias);
    if (config.query_key_norm) {
      norm_query_ = make_rms_norm("norm_query", config.features, config.norm_epsilon);
      norm_key_ = make_rms_norm("norm_key", config.features, config.norm_epsilon);
    }
    norm_mlp_ = make_rms_norm("norm_mlp", config.width, config.norm_epsilon);
    gate_ = make_linear("gate", config.width, config.inner, config.mlp_bias);
    up_ = make_linear("up", config.width, config.inner, config.mlp_bias);
    down_ = make_linear("down", config.inner, config.width, config.mlp_bias);
    activation_ = gate_named(config.activation, "config.json");
  }

  Tensor forward(const Tensor& x, const Rotation& rotation, Attention& attention) const override {
    const auto h = x + attend(norm_attention_->forward(x), rotation, attention);
    return h + mlp(norm_mlp_->forward(h));
  }

 private:
  Tensor attend(const Tensor& x, const Rotation& rotation, Attention& attention) const {
    const auto q = rotate(heads(query_->forward(x), config_.heads, norm_query_), rotation);
    const auto k = rotate(heads(key_->forward(x), config_.kv_heads, norm_key_), rotation);
    const auto v = split_heads(value_->forward(x), config_.kv_heads);
    const auto scale = 1 / std::sqrt(static_cast<double>(config_.features));
    return out_->forward(join_heads(attention.attend(layer_, q, k, v, {.scale = scale})));
  }

  /// [batch, heads, rows, features], normed where the family does.
  Tensor heads(const Tensor& x, int64_t heads, const std::shared_ptr<RmsNorm>& norm) const {
    if (norm == nullptr) {
      return split_heads(x, heads);
    }
    const auto apart = x.unflatten(2, {heads, config_.features});
    const auto wide = x.scalar_type() == torch::kFloat64 ? apart : apart.to(torch::kFloat32);
    return norm->forward(wide).transpose(1, 2);
  }

  Tensor mlp(const Tensor& x) const {
    return down_->forward(activation_(gate_->forward(x), up_->forward(x)));
  }

  Config config_;
  int64_t layer_;
  std::shared_ptr<RmsNorm> norm_attention_, norm_mlp_;
  std::shared_ptr<RmsNorm> norm_query_, norm_key_;  // null where the family has none
  std::shared_ptr<Linear> query_, key_, value_, out_, gate_, up_, down_;
  Gate activation_;
};

Config configure(const nlohmann::json& json, const std::string& where) {
  const ConfigReader read(json, where);
  Config config;
  config.vocabulary = read.size("vocab_size");
  config.width = read.size("hidden_size");
  config.layers = read.size("num_hidden_layers");
  config.heads = read.size("num_attention_heads");
  config.kv_heads = read.size("num_key_value_heads", config.heads);
  config.features = read.size("head_dim", config.width / config.heads);
  config.inner = read.size("intermediate_size");
  config.positions = read.size("max_position_embeddings", 2048);
  config.norm_epsilon = read.number("rms_norm_eps", 1e-6);
  config.activation = read.text("hidden_act", "silu");
  config.tied = read.flag("tie_word_embeddings", false);
  config.attention_bias = config.attention_out_bias = read.flag("attention_bias", false);
  config.mlp_bias = read.flag("mlp_bias", false);
  config.gated = true;
  config.rope = rope_from(json, where);
  activation_named(config.activation, where);
  return config;
}

Config configure_mistral(const nlohmann::json& json, const std::string& where) {
  auto config = configure(json, where);
  const auto window = ConfigReader(json, where).size("sliding_window", config.positions);
  require(
      window >= config.positions, where, ": a sliding window of ", window,
      " tokens is not known here; set sliding_window to null where texts are no longer than that");
  config.attention_bias = config.attention_out_bias = config.mlp_bias = false;
  return config;
}

Config configure_qwen2(const nlohmann::json& json, const std::string& where) {
  auto config = configure(json, where);
  require(!ConfigReader(json, where).flag("use_sliding_window", false), where,
          ": use_sliding_window is not known here; attention over all keys is");
  config.attention_bias = true;
  config.attention_out_bias = config.mlp_bias = false;
  return config;
}

Config configure_qwen3(const nlohmann::json& json, const std::string& where) {
  auto config = configure_qwen2(json, where);
  config.attention_bias = config.attention_out_bias =
      ConfigReader(json, where).flag("attention_bias", false);
  config.query_key_norm = true;
  return config;
}

std::vector<TensorName> names(const Config&) {
  std::vector<TensorName> names{{"tokens.weight", "model.embed_tokens.weight"},
                                {"norm.weight", "model.norm.weight"},
                                {"head.weight", "lm_head.weight"}};
  const auto layer = [&](const std::string& ours, const std::string& theirs) {
    for (const auto* part : {".weight", ".bias"}) {
      names.push_back({"layers.{}." + ours + part, "model.layers.{}." + theirs + part});
    }
  };
  layer("norm_attention", "input_layernorm");
  layer("query", "self_attn.q_proj");
  layer("key", "self_attn.k_proj");
  layer("value", "self_attn.v_proj");
  layer("out", "self_attn.o_proj");
  layer("norm_query", "self_attn.q_norm");
  layer("norm_key", "self_attn.k_norm");
  layer("norm_mlp", "post_attention_layernorm");
  layer("gate", "mlp.gate_proj");
  layer("up", "mlp.up_proj");
  layer("down", "mlp.down_proj");
  return names;
}

Family family_of(const char* model_type,
                 Config (*configure)(const nlohmann::json&, const std::string&)) {
  return {.model_type = model_type,
          .configure = configure,
          .make_block = [](const Config& config,
                           int64_t layer) { return std::make_shared<LlamaBlock>(config, layer); },
          .make_norm =
              [](const Config& config) {
                return std::make_shared<RmsNorm>(config.width, config.norm_epsilon);
              },
          .names = names,
          .prefix = "",
          .ignored = {".rotary_emb.inv_freq"}};
}

}  // namespace
}  // namespace llama

Family llama_family() { return llama::family_of("llama", llama::configure); }
Family mistral_family() { return llama::family_of("mistral", llama::configure_mistral); }
Family qwen2_family() { return llama::family_of("qwen2", llama::configure_qwen2); }
Family qwen3_family() { return llama::family_of("qwen3", llama::configure_qwen3); }

}  // namespace motet
