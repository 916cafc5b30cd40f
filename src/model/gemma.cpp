#include <cmath>

#include "model/families.h"
#include "model/gated_block.h"
#include "motet/error.h"

/// Gemma 2: arXiv 2408.00118; Gemma 3, its text model: arXiv 2503.19786.
namespace motet {
namespace {

/// A soft cap, or none where it is null. Its sign does not matter.
std::optional<double> cap_of(const ConfigReader& read, const char* name,
                             std::optional<double> otherwise) {
  const auto cap = read.number_or_null(name, otherwise);
  if (cap == 0.0) {
    read.fail(name, "a number other than 0, or null,");
  }
  return cap ? std::optional(std::abs(*cap)) : cap;
}

/// What both have: norms before and behind, of weights that count from 1, a scaled embedding, and
/// windows in some layers.
Config configure_gemma(const nlohmann::json& json, const std::string& where,
                       const GatedDefaults& defaults, int64_t pattern) {
  auto config = gated_config(json, where, defaults);
  const ConfigReader read(json, where);
  require(
      !read.has("use_bidirectional_attention") || !read.flag("use_bidirectional_attention", false),
      where, ": 'use_bidirectional_attention' is true; a decoder sees no later tokens");
  config.attention_bias = config.attention_out_bias = read.flag("attention_bias", false);
  config.norm_after = true;
  config.norm_offset = 1;
  // In single precision, as Hugging Face keeps it.
  config.embedding_scale = std::sqrt(static_cast<float>(config.width));
  config.score_scale = 1 / std::sqrt(read.positive("query_pre_attn_scalar", 256));
  config.windows = layer_windows(json, where, config.layers, read.size("sliding_window", 4096, 0),
                                 [&](int64_t layer) { return (layer + 1) % pattern != 0; });
  return config;
}

GatedDefaults defaults_of(int64_t vocabulary, int64_t positions) {
  return {.vocabulary = vocabulary,
          .width = 2304,
          .inner = 9216,
          .layers = 26,
          .heads = 8,
          .kv_heads = 4,
          .features = 256,
          .activation_field = "hidden_activation",
          .activation = "gelu_pytorch_tanh",
          .tied = true,
          .rope = {.positions = positions}};
}

Config configure_gemma2(const nlohmann::json& json, const std::string& where) {
  const auto defaults = defaults_of(256000, 8192);
  auto config = configure_gemma(json, where, defaults, 2);
  const ConfigReader read(json, where);
  config.score_cap = cap_of(read, "attn_logit_softcapping", 50.0);
  config.logit_cap = cap_of(read, "final_logit_softcapping", 30.0);
  config.rope = rope_from(json, where, defaults.rope);
  return config;
}

Config configure_gemma3(const nlohmann::json& json, const std::string& where) {
  const auto defaults = defaults_of(262208, 131072);
  const ConfigReader read(json, where);
  auto config = configure_gemma(json, where, defaults, read.size("sliding_window_pattern", 6));
  // Hugging Face reads a cap of scores here and does not apply it.
  if (read.has("attn_logit_softcapping")) {
    read.fail("attn_logit_softcapping", "null, as Gemma 3 has no cap of scores,");
  }
  config.logit_cap = cap_of(read, "final_logit_softcapping", {});
  config.query_key_norm = true;
  // Layers with a window have a rope of their own. `rope_scaling` is of the others.
  const auto scaling = read.object("rope_scaling"), ropes = read.object("rope_parameters");
  const auto full = ropes.object("full_attention"), local = ropes.object("sliding_attention");
  auto defaults_full = defaults.rope, defaults_local = defaults.rope;
  defaults_full.theta = 1e6;
  defaults_local.theta = read.positive("rope_local_base_freq", 1e4);
  // Hugging Face overlooks such a `type`, and puts the two together.
  if (scaling.absent("rope_type") && scaling.has("type")) {
    scaling.fail("type", "rope_type in its place");
  }
  if (!scaling.empty() && !full.text("rope_type", "default").starts_with("default")) {
    read.fail("rope_scaling", "null, as rope_parameters.full_attention is scaled,");
  }
  auto around = json;
  around["head_dim"] = config.features;
  config.rope =
      rope_of(scaling.empty() ? full : scaling, ConfigReader(around, where), defaults_full);
  if (!full.absent("rope_theta")) {
    config.rope->theta = full.positive("rope_theta");
  }
  around.erase("rope_theta");  // of the others
  config.window_rope = rope_of(local, ConfigReader(around, where), defaults_local);
  return config;
}

}  // namespace

Family gemma2_family() { return gated_family("gemma2", configure_gemma2, 1); }
Family gemma3_family() { return gated_family("gemma3_text", configure_gemma3, 1); }

}  // namespace motet
