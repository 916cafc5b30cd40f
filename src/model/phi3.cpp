#include "model/families.h"
#include "model/gated_block.h"
#include "motet/error.h"

/// Phi-3: arXiv 2404.14219. Products that read the same rows are one; LongRope.
namespace motet {
namespace {

Config configure_phi3(const nlohmann::json& json, const std::string& where) {
  const GatedDefaults defaults{.vocabulary = 32064,
                               .width = 3072,
                               .inner = 8192,
                               .norm_epsilon = 1e-5,
                               .rope = {.positions = 4096, .partial = true}};
  auto source = json;
  if (!source.contains("original_max_position_embeddings")) {
    source["original_max_position_embeddings"] = 4096;
  }
  for (const auto* name : {"rope_scaling", "rope_parameters"}) {  // older names of LongRope
    if (auto& rope = source[name]; rope.is_object()) {
      for (const auto* field : {"type", "rope_type"}) {
        if (rope.contains(field) && (rope[field] == "su" || rope[field] == "yarn")) {
          rope[field] = "longrope";
        }
      }
    }
  }
  auto config = gated_config(json, where, defaults);
  const ConfigReader read(json, where);
  config.fused = true;
  config.rope = rope_from(source, where, defaults.rope);
  if (read.has("sliding_window")) {
    config.windows.assign(config.layers, read.size("sliding_window"));
  }
  return config;
}

}  // namespace

Family phi3_family() { return gated_family("phi3", configure_phi3, 32000); }

}  // namespace motet
