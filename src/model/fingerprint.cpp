#include "model/fingerprint.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <type_traits>
#include <variant>

#include "motet/files/sha256.h"

namespace motet {
namespace {

using nlohmann::ordered_json;
using torch::Tensor;

ordered_json json_of(const DefaultRope&) { return "default"; }
ordered_json json_of(const LinearRope& rope) { return {"linear", rope.factor}; }
ordered_json json_of(const Llama3Rope& rope) {
  return {"llama3", rope.factor, rope.low_frequency_factor, rope.high_frequency_factor,
          rope.original_positions};
}
ordered_json json_of(const YarnRope& rope) {
  return {"yarn",         rope.factor,   rope.attention_factor,  rope.beta_fast,
          rope.beta_slow, rope.truncate, rope.original_positions};
}
ordered_json json_of(const LongRope& rope) {
  return {"longrope", rope.short_factors, rope.long_factors, rope.attention_factor,
          rope.original_positions};
}
ordered_json json_of(const std::optional<Rope>& rope) {
  if (!rope) {
    return {};
  }
  ordered_json json{rope->theta,
                    std::visit([](const auto& kind) { return json_of(kind); }, rope->scaling)};
  if (rope->share != 1) {
    json.push_back(rope->share);
  }
  return json;
}
ordered_json json_of(const std::optional<double>& number) {
  return number ? ordered_json(*number) : ordered_json();
}

/// Everything in a configuration that changes what is computed.
ordered_json json_of(const Config& config) {
  auto source = config.source;  // a family of one's own may read more of it than Config holds
  for (const auto* name : {"_name_or_path", "architectures", "dtype", "torch_dtype",
                           "transformers_version", "use_cache"}) {
    if (source.is_object()) {
      source.erase(name);
    }
  }
  ordered_json json{config.model_type,
                    config.vocabulary,
                    config.width,
                    config.layers,
                    config.heads,
                    config.kv_heads,
                    config.features,
                    config.inner,
                    config.positions,
                    config.norm_epsilon,
                    config.activation,
                    config.tied,
                    config.attention_bias,
                    config.attention_out_bias,
                    config.query_key_norm,
                    config.mlp_bias,
                    config.gated,
                    json_of(config.rope),
                    config.scale_scores,
                    config.scale_scores_by_layer,
                    config.windows,
                    config.embedding_scale,
                    json_of(config.logit_cap),
                    source};
  const Config usual;  // what older families do not have, they do not have to name
  const ordered_json more{config.query_key_norm_wide,
                          json_of(config.window_rope),
                          json_of(config.score_scale),
                          json_of(config.score_cap),
                          config.norm_before,
                          config.norm_after,
                          config.norm_offset,
                          config.parallel,
                          config.fused};
  const ordered_json none{usual.query_key_norm_wide,
                          json_of(usual.window_rope),
                          json_of(usual.score_scale),
                          json_of(usual.score_cap),
                          usual.norm_before,
                          usual.norm_after,
                          usual.norm_offset,
                          usual.parallel,
                          usual.fused};
  if (more != none) {
    json.push_back(more);
  }
  return json;
}

/// SHA-256 of a tensor's values: of the digests of its parts, which threads share.
std::string hash_of(const Tensor& x) {
  constexpr int64_t kPart = 1 << 22;
  const auto plain = x.detach().cpu().contiguous();
  const auto bytes = static_cast<int64_t>(plain.nbytes());
  const auto* data = static_cast<const char*>(plain.const_data_ptr());
  std::vector<std::string> parts((bytes + kPart - 1) / kPart);
  at::parallel_for(0, static_cast<int64_t>(parts.size()), 1, [&](int64_t first, int64_t last) {
    for (auto part = first; part < last; ++part) {
      const auto begin = part * kPart;
      parts[part] =
          sha256({data + begin, static_cast<std::size_t>(std::min(kPart, bytes - begin))});
    }
  });
  Sha256 all;
  for (const auto& part : parts) {
    all.update(part);
  }
  return all.digest();
}

std::string fingerprint_of(const Decoder& model) {
  Sha256 hash;
  hash.update("motet 1\n" + json_of(model.config()).dump() + "\n");
  for (const auto& item : model.named_parameters()) {
    const auto& x = item.value();
    hash.update(item.key() + " " + c10::toString(x.scalar_type()) + " " +
                ordered_json(x.sizes().vec()).dump() + " " + hash_of(x) + "\n");
  }
  return hash.digest();
}

}  // namespace

std::string Decoder::KnownFingerprint::of(const Decoder& model) {
  const std::lock_guard lock(mutex_);
  State state;
  bool counted = true;  // tensors of inference mode do not count what is written to them
  for (const auto& x : model.parameters()) {
    counted = counted && !x.is_inference();
    state.emplace_back(x.const_data_ptr(), counted ? x._version() : 0);
  }
  if (fingerprint_.empty() || !counted || state != state_) {
    fingerprint_ = fingerprint_of(model);
    state_ = std::move(state);
  }
  return fingerprint_;
}

}  // namespace motet
