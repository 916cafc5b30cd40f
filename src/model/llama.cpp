#include "model/families.h"
#include "model/gated_block.h"
#include "motet/error.h"

/// Llama: Touvron et al. 2023, arXiv 2302.13971. Mistral 7B: Jiang et al. 2023, arXiv 2310.06825.
namespace motet {
namespace {

Config configure_llama(const nlohmann::json& json, const std::string& where) {
  const GatedDefaults defaults{};
  auto config = gated_config(json, where, defaults);
  const ConfigReader read(json, where);
  config.attention_bias = config.attention_out_bias = read.flag("attention_bias", false);
  config.mlp_bias = read.flag("mlp_bias", false);
  config.rope = rope_from(json, where, defaults.rope);
  return config;
}

Config configure_mistral(const nlohmann::json& json, const std::string& where) {
  const GatedDefaults defaults{.inner = 14336, .kv_heads = 8, .rope = {.positions = 131072}};
  auto config = gated_config(json, where, defaults);
  config.rope = rope_from(json, where, defaults.rope);
  const ConfigReader read(json, where);
  const auto window = read.size("sliding_window", 4096, 0);  // null: none; absent: the family's own
  // With layer_types it is what Hugging Face calls Ministral.
  config.windows =
      layer_windows(json, where, config.layers, window, [&](int64_t) { return window > 0; });
  return config;
}

}  // namespace

Family llama_family() { return gated_family("llama", configure_llama, 2); }
Family mistral_family() { return gated_family("mistral", configure_mistral, 2); }

}  // namespace motet
