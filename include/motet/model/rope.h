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

/// LongRoPE: Ding et al. 2024, arXiv 2402.13753. Every wavelength has a factor; a pass that reaches
/// beyond original_positions takes the long ones, for all of its rows.
struct LongRope {
  std::vector<double> short_factors;  ///< of each rotated pair
  std::vector<double> long_factors;   ///< as many
  double attention_factor = 1;        ///< on cos and sin, so squared on scores
  int64_t original_positions = 0;     ///< that the model was first trained on
};

/// RoPE's scaling kinds: a closed set, so a new one is a struct here and an overload in rope.cpp.
using RopeScaling = std::variant<DefaultRope, LinearRope, Llama3Rope, YarnRope, LongRope>;

/// Rotated positions: feature pair i of d turns by position * theta^(-2i/d), then scaled.
struct Rope {
  double theta = 10000;  ///< the base
  RopeScaling scaling;   ///< none, unless given
  double share = 1;      ///< of a head's features that are rotated, the first ones

  /// How many of so many features are rotated.
  int64_t rotated(int64_t features) const;
};

/// What a family has where its config.json is silent.
struct RopeDefaults {
  double theta = 10000;      ///< the base
  double share = 1;          ///< of features that are rotated
  int64_t positions = 2048;  ///< max_position_embeddings
  bool partial = false;      ///< whether it can rotate fewer features than all
};

/// From a Hugging Face config.json in its present form (`rope_parameters`) or the older one
/// (`rope_theta`, `rope_scaling`, `partial_rotary_factor`). `where` names the file in errors.
/// Throws Error for another kind of scaling, and for a rope of each kind of layer.
Rope rope_from(const nlohmann::json& config, const std::string& where,
               const RopeDefaults& defaults = {});

class ConfigReader;
/// From the settings of one rope, an object of its own within `config`.
Rope rope_of(const ConfigReader& settings, const ConfigReader& config,
             const RopeDefaults& defaults = {});

/// Angles of positions, ready to rotate with.
struct Rotation {
  torch::Tensor cos;  ///< [rows, rotated / 2], fp32; undefined where the model does not rotate
  torch::Tensor sin;  ///< as `cos`
};

/// The angles of these positions, fp32 throughout, as Hugging Face computes them. `reach` is the
/// number of positions that all rows of the pass and their keys have, which LongRope heeds; never
/// less than these need.
Rotation rotation(const Rope& rope, int64_t features, const std::vector<int64_t>& positions,
                  const torch::TensorOptions& options, int64_t reach = 0);

/// Rotates feature i of the r rotated ones against feature i + r / 2; x is [..., rows, features],
/// rotated in fp32 at least. Features behind them stay.
torch::Tensor rotate(const torch::Tensor& x, const Rotation& rotation);

}  // namespace motet
