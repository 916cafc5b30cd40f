#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "motet/model/block.h"
#include "motet/model/config.h"
#include "motet/model/family.h"

/// The block of Llama and its many relatives: attention over rotated queries and keys, and an MLP
/// with a gate. What differs between them is in the Config: biases, norms and where they stand,
/// scale and cap of scores. Touvron et al. 2023, arXiv 2302.13971; grouped-query attention: Ainslie
/// et al. 2023, arXiv 2305.13245.
namespace motet {

class GatedBlock : public Block {
 public:
  GatedBlock(const Config& config, int64_t layer);
  torch::Tensor forward(const torch::Tensor& x, const Rotation& rotation,
                        Attention& attention) const override;

 private:
  struct Projected {
    torch::Tensor query, key, value;
  };
  torch::Tensor attend(const torch::Tensor& x, const Rotation& rotation,
                       Attention& attention) const;
  torch::Tensor mlp(const torch::Tensor& x) const;
  Projected project(const torch::Tensor& x) const;
  /// [batch, heads, rows, features], normed where the family does.
  torch::Tensor heads(const torch::Tensor& x, int64_t heads,
                      const std::shared_ptr<RmsNorm>& norm) const;

  Config config_;
  int64_t layer_;
  // Those that the family does not have are null.
  std::shared_ptr<RmsNorm> norm_attention_, norm_mlp_, norm_attention_out_, norm_mlp_out_;
  std::shared_ptr<RmsNorm> norm_query_, norm_key_;
  std::shared_ptr<Linear> query_, key_, value_, query_key_value_, out_;
  std::shared_ptr<Linear> gate_, up_, gate_up_, down_;
  Gate activation_;
};

/// A family of such blocks, with Llama's names of tensors.
Family gated_family(const std::string& model_type,
                    Config (*configure)(const nlohmann::json&, const std::string&),
                    std::optional<int64_t> end_token = {});

/// What such a family has where its config.json is silent: in Hugging Face too.
struct GatedDefaults {
  int64_t vocabulary = 32000;
  int64_t width = 4096;
  int64_t inner = 11008;
  int64_t layers = 32;
  int64_t heads = 32;
  int64_t kv_heads = 0;  ///< 0: as many as heads
  int64_t features = 0;  ///< 0: width / heads
  double norm_epsilon = 1e-6;
  const char* activation_field = "hidden_act";
  const char* activation = "silu";
  bool tied = false;
  RopeDefaults rope = {};
};
/// What all of these families' config.json say alike: sizes, not biases, ropes and windows.
Config gated_config(const nlohmann::json& json, const std::string& where,
                    const GatedDefaults& defaults);

/// The window of each layer that `layer_types` (or, where it is absent, `has_window`) says has one;
/// empty where none has. Throws Error for a kind of layer that is not known, and where a layer has
/// one and `field` has made `window` 0.
std::vector<int64_t> layer_windows(const nlohmann::json& json, const std::string& where,
                                   int64_t layers, int64_t window,
                                   const std::function<bool(int64_t)>& has_window,
                                   const char* field = "sliding_window");

}  // namespace motet
