#include "model/gated_block.h"

#include <ATen/ATen.h>

#include <cmath>

#include "kernel/elementwise.h"
#include "motet/error.h"

namespace motet {

using torch::Tensor;

GatedBlock::GatedBlock(const Config& config, int64_t layer) : config_(config), layer_(layer) {
  const auto queries = config.heads * config.features, keys = config.kv_heads * config.features;
  const auto norm = [&](const char* name, int64_t width) {
    return make_rms_norm(name, width, config.norm_epsilon, config.norm_offset);
  };
  if (config.norm_before) {
    norm_attention_ = norm("norm_attention", config.width);
  }
  if (config.fused) {
    query_key_value_ =
        make_linear("query_key_value", config.width, queries + 2 * keys, config.attention_bias);
  } else {
    query_ = make_linear("query", config.width, queries, config.attention_bias);
    key_ = make_linear("key", config.width, keys, config.attention_bias);
    value_ = make_linear("value", config.width, keys, config.attention_bias);
  }
  out_ = make_linear("out", queries, config.width, config.attention_out_bias);
  if (config.query_key_norm) {
    norm_query_ = norm("norm_query", config.query_key_norm_wide ? queries : config.features);
    norm_key_ = norm("norm_key", config.query_key_norm_wide ? keys : config.features);
  }
  if (config.norm_after) {
    norm_attention_out_ = norm("norm_attention_out", config.width);
  }
  if (config.norm_before) {
    norm_mlp_ = norm("norm_mlp", config.width);
  }
  if (config.fused) {
    gate_up_ = make_linear("gate_up", config.width, 2 * config.inner, config.mlp_bias);
  } else {
    gate_ = make_linear("gate", config.width, config.inner, config.mlp_bias);
    up_ = make_linear("up", config.width, config.inner, config.mlp_bias);
  }
  down_ = make_linear("down", config.inner, config.width, config.mlp_bias);
  if (config.norm_after) {
    norm_mlp_out_ = norm("norm_mlp_out", config.width);
  }
  activation_ = gate_named(config.activation, "config.json");
}

Tensor GatedBlock::forward(const Tensor& x, const Rotation& rotation, Attention& attention) const {
  const auto before = [&](const Tensor& stream, const std::shared_ptr<RmsNorm>& norm) {
    return norm != nullptr ? norm->forward(stream) : stream.to(out_->weight.scalar_type());
  };
  const auto after = [&](const Tensor& added, const std::shared_ptr<RmsNorm>& norm) {
    return norm != nullptr ? norm->forward(added.to(x.scalar_type())) : added;
  };
  const auto h = add_to_stream(
      x, after(attend(before(x, norm_attention_), rotation, attention), norm_attention_out_));
  return add_to_stream(h, after(mlp(before(h, norm_mlp_)), norm_mlp_out_));
}

GatedBlock::Projected GatedBlock::project(const Tensor& x) const {
  if (!config_.fused) {
    const auto parts = forward_together(x, {query_.get(), key_.get(), value_.get()});
    return {parts[0], parts[1], parts[2]};
  }
  const auto keys = config_.kv_heads * config_.features;
  const auto parts =
      query_key_value_->forward(x).split({config_.heads * config_.features, keys, keys}, -1);
  return {parts[0], parts[1], parts[2]};
}

Tensor GatedBlock::attend(const Tensor& x, const Rotation& rotation, Attention& attention) const {
  const auto projected = project(x);
  const auto q = rotate(heads(projected.query, config_.heads, norm_query_), rotation);
  const auto k = rotate(heads(projected.key, config_.kv_heads, norm_key_), rotation);
  const auto v = split_heads(projected.value, config_.kv_heads);
  const auto usual = 1 / std::sqrt(static_cast<double>(config_.features));
  const ScoreRule rule{.scale = config_.score_scale.value_or(usual), .cap = config_.score_cap};
  return out_->forward(join_heads(attention.attend(layer_, q, k, v, rule)));
}

Tensor GatedBlock::heads(const Tensor& x, int64_t heads,
                         const std::shared_ptr<RmsNorm>& norm) const {
  if (norm == nullptr) {
    return split_heads(x, heads);
  }
  const auto wide = x.scalar_type() == torch::kFloat64 ? x : x.to(torch::kFloat32);
  if (config_.query_key_norm_wide) {
    return split_heads(norm->forward(wide), heads);
  }
  return norm->forward(wide.unflatten(2, {heads, config_.features})).transpose(1, 2);
}

Tensor GatedBlock::mlp(const Tensor& x) const {
  if (config_.fused) {
    const auto parts = gate_up_->forward(x).chunk(2, -1);
    return down_->forward(activation_(parts[0].contiguous(), parts[1].contiguous()));
  }
  const auto parts = forward_together(x, {gate_.get(), up_.get()});
  return down_->forward(activation_(parts[0], parts[1]));
}

std::vector<TensorName> gated_names(const Config& config) {
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
  layer("query_key_value", "self_attn.qkv_proj");
  layer("out", "self_attn.o_proj");
  layer("norm_query", "self_attn.q_norm");
  layer("norm_key", "self_attn.k_norm");
  // What follows the attention is, by its name, the norm behind it where there is one.
  layer("norm_attention_out", "post_attention_layernorm");
  layer("norm_mlp", config.norm_after ? "pre_feedforward_layernorm" : "post_attention_layernorm");
  layer("norm_mlp_out", "post_feedforward_layernorm");
  layer("gate", "mlp.gate_proj");
  layer("up", "mlp.up_proj");
  layer("gate_up", "mlp.gate_up_proj");
  layer("down", "mlp.down_proj");
  return names;
}

Family gated_family(const std::string& model_type,
                    Config (*configure)(const nlohmann::json&, const std::string&),
                    std::optional<int64_t> end_token) {
  return {.model_type = model_type,
          .configure = configure,
          .make_block = [](const Config& config,
                           int64_t layer) { return std::make_shared<GatedBlock>(config, layer); },
          .make_norm =
              [](const Config& config) {
                return std::make_shared<RmsNorm>(config.width, config.norm_epsilon,
                                                 torch::TensorOptions(), config.norm_offset);
              },
          .names = gated_names,
          .prefix = "model.",
          .ignored = {".rotary_emb.inv_freq"},
          .end_token = end_token};
}

Config gated_config(const nlohmann::json& json, const std::string& where,
                    const GatedDefaults& defaults) {
  const ConfigReader read(json, where);
  Config config;
  config.vocabulary = read.size("vocab_size", defaults.vocabulary);
  config.width = read.size("hidden_size", defaults.width);
  config.layers = read.size("num_hidden_layers", defaults.layers);
  config.heads = read.size("num_attention_heads", defaults.heads);
  config.kv_heads =
      read.size("num_key_value_heads", defaults.kv_heads > 0 ? defaults.kv_heads : config.heads,
                config.heads);
  const auto share = config.width / config.heads;
  config.features = defaults.features > 0 ? read.size("head_dim", defaults.features)
                                          : read.size("head_dim", share, share);
  config.inner = read.size("intermediate_size", defaults.inner);
  config.positions = read.size("max_position_embeddings", defaults.rope.positions);
  config.norm_epsilon = read.number("rms_norm_eps", defaults.norm_epsilon);
  config.activation = read.text(defaults.activation_field, defaults.activation);
  config.tied = read.flag("tie_word_embeddings", defaults.tied);
  config.gated = true;
  activation_named(config.activation, where);
  return config;
}

std::vector<int64_t> layer_windows(const nlohmann::json& json, const std::string& where,
                                   int64_t layers, int64_t window,
                                   const std::function<bool(int64_t)>& has_window,
                                   const char* field) {
  const ConfigReader read(json, where);
  const auto types = read.texts("layer_types");
  if (!types.empty() && static_cast<int64_t>(types.size()) != layers) {
    read.fail("layer_types", "a kind for each of " + std::to_string(layers) + " layers");
  }
  std::vector<int64_t> windows(layers, 0);
  bool any = false;
  for (int64_t layer = 0; layer < layers; ++layer) {
    bool has = has_window(layer);
    if (!types.empty()) {
      has = types[layer] == "sliding_attention";
      if (!has && types[layer] != "full_attention") {
        read.fail("layer_types", "full_attention or sliding_attention for each layer");
      }
    }
    if (has && window == 0) {
      read.fail(field, "another value, as layer " + std::to_string(layer) + " has a window,");
    }
    windows[layer] = has ? window : 0;
    any = any || has;
  }
  return any ? windows : std::vector<int64_t>();
}

}  // namespace motet
