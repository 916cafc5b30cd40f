#include "model/families.h"
#include "model/gated_block.h"

/// Qwen2: arXiv 2407.10671, Llama with biases of queries, keys and values. Qwen3: arXiv 2505.09388,
/// which norms queries and keys in their place.
namespace motet {
namespace {

Config configure_qwen(const nlohmann::json& json, const std::string& where, int64_t features) {
  const GatedDefaults defaults{.vocabulary = 151936,
                               .inner = 22016,
                               .kv_heads = 32,
                               .features = features,
                               .rope = {.positions = 32768}};
  auto config = gated_config(json, where, defaults);
  config.rope = rope_from(json, where, defaults.rope);
  const ConfigReader read(json, where);
  if (read.flag("use_sliding_window", false)) {
    const auto window = read.size("sliding_window", 4096, 0);
    const bool by_type = !read.texts("layer_types").empty();
    const auto first = by_type ? 0 : read.count("max_window_layers", 28);
    config.windows = layer_windows(json, where, config.layers, window,
                                   [&](int64_t layer) { return window > 0 && layer >= first; });
  } else {
    layer_windows(
        json, where, config.layers, 0, [](int64_t) { return false; }, "use_sliding_window");
  }
  return config;
}

Config configure_qwen2(const nlohmann::json& json, const std::string& where) {
  auto config = configure_qwen(json, where, 0);
  config.attention_bias = true;
  return config;
}

Config configure_qwen3(const nlohmann::json& json, const std::string& where) {
  auto config = configure_qwen(json, where, 128);
  config.attention_bias = config.attention_out_bias =
      ConfigReader(json, where).flag("attention_bias", false);
  config.query_key_norm = true;
  return config;
}

}  // namespace

Family qwen2_family() { return gated_family("qwen2", configure_qwen2); }
Family qwen3_family() { return gated_family("qwen3", configure_qwen3); }

}  // namespace motet
