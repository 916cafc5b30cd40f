#include "model/families.h"
#include "model/gated_block.h"

/// OLMo 2: arXiv 2501.00656. Norms stand behind attention and MLP, and over all queries and all
/// keys.
namespace motet {
namespace {

Config configure_olmo2(const nlohmann::json& json, const std::string& where) {
  const GatedDefaults defaults{.vocabulary = 50304, .norm_epsilon = 1e-5};
  auto config = gated_config(json, where, defaults);
  config.attention_bias = config.attention_out_bias =
      ConfigReader(json, where).flag("attention_bias", false);
  config.norm_before = false;
  config.norm_after = true;
  config.query_key_norm = config.query_key_norm_wide = true;
  config.rope = rope_from(json, where, defaults.rope);
  return config;
}

}  // namespace

Family olmo2_family() { return gated_family("olmo2", configure_olmo2, 50279); }

}  // namespace motet
