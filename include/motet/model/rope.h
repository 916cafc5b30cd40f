#pragma once

#include <torch/types.h>

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace motet {

/// Positions as they are: Su et al. 2021, "RoFormer", arXiv 2104.09864.
struct DefaultRope {};

/// Positions divided by a factor: Chen et al. 2023, arXiv 2306.15595.
struct LinearRope {
  double factor = 1;  ///< of the divided positions
};

/// Llama 3.1: low frequencies divided by a factor, high ones kept, those between interpolated.
struct Llama3Rope {
  double factor = 1;                  ///< that low frequencies are divided by
  double low_frequency_factor = 1;    ///< low: fewer turns than this in original_positions
  double high_frequency_factor = 4;   ///< high: more turns than this
  int64_t original_positions = 8192;  ///< that the model was first trained on
};

/// YaRN: Peng et al. 2023, arXiv 2309.00071.
struct YarnRope {
  double factor = 1;               ///< that low frequencies are divided by
  double attention_factor = 1;     ///< on cos and sin, so squared on scores
  double beta_fast = 32;           ///< frequencies with more turns in original_positions are kept
  double beta_slow = 1;            ///< those with fewer turns are divided
  int64_t original_positions = 0;  ///< that the model was first trained on
  bool truncate = true;            ///< whether the ramp between them has whole ends
};

/// RoPE's scaling kinds: a closed set, so a new one is a struct here and an overload in rope.cpp.
using RopeScaling = std::variant<DefaultRope, LinearRope, Llama3Rope, YarnRope>;

/// Rotated positions: feature pair i of d turns by position * theta^(-2i/d), then scaled.
struct Rope {
  double theta = 10000;  ///< the base
  RopeScaling scaling;   ///< none, unless given
};

/// From a Hugging Face config.json in its present form (`rope_parameters`) or the older one
/// (`rope_theta`, `rope_scaling`). `where` names the file in errors. Throws Error for another kind
/// of scaling.
Rope rope_from(const nlohmann::json& config, const std::string& where);

/// Angles of positions, ready to rotate with.
struct Rotation {
  torch::Tensor cos;  ///< [rows, features / 2], fp32; undefined where the model does not rotate
  torch::Tensor sin;  ///< as `cos`
};

/// The angles of these positions, fp32 throughout, as Hugging Face computes them.
Rotation rotation(const Rope& rope, int64_t features, const std::vector<int64_t>& positions,
                  const torch::TensorOptions& options);

/// Rotates feature i against feature i + features / 2; x is [..., rows, features], rotated in fp32
/// at least.
torch::Tensor rotate(const torch::Tensor& x, const Rotation& rotation);

}  // namespace motet
