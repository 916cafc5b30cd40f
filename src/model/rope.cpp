#include "motet/model/rope.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "kernel/elementwise.h"
#include "motet/error.h"

namespace motet {
namespace {

using nlohmann::json;
using torch::Tensor;

/// theta^(2i / features), fp32.
Tensor wavelengths(const Rope& rope, int64_t features) {
  const auto exponent = torch::arange(0, features, 2, torch::kInt64).to(torch::kFloat32) /
                        static_cast<double>(features);
  return torch::pow(rope.theta, exponent);
}

struct Frequencies {
  Tensor inverse;  // [features / 2], radians for each position
  double amplitude = 1;
};

Frequencies frequencies(const DefaultRope&, const Rope& rope, int64_t features) {
  return {1 / wavelengths(rope, features)};
}

Frequencies frequencies(const LinearRope& scaling, const Rope& rope, int64_t features) {
  return {1 / wavelengths(rope, features) / scaling.factor};
}

Frequencies frequencies(const Llama3Rope& scaling, const Rope& rope, int64_t features) {
  const auto inverse = 1 / wavelengths(rope, features);
  const auto positions = static_cast<double>(scaling.original_positions);
  const auto wavelength = 2 * std::numbers::pi / inverse;
  const auto smooth = (positions / wavelength - scaling.low_frequency_factor) /
                      (scaling.high_frequency_factor - scaling.low_frequency_factor);
  const auto between = (1 - smooth) * inverse / scaling.factor + smooth * inverse;
  const auto low = wavelength > positions / scaling.low_frequency_factor;
  const auto high = wavelength < positions / scaling.high_frequency_factor;
  return {torch::where(low, inverse / scaling.factor, torch::where(high, inverse, between))};
}

Frequencies frequencies(const YarnRope& scaling, const Rope& rope, int64_t features) {
  const auto lengths = wavelengths(rope, features);
  const auto dimension = [&](double rotations) {
    return features *
           std::log(static_cast<double>(scaling.original_positions) /
                    (rotations * 2 * std::numbers::pi)) /
           (2 * std::log(rope.theta));
  };
  auto low = dimension(scaling.beta_fast), high = dimension(scaling.beta_slow);
  if (scaling.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(features - 1));
  if (low == high) {
    high += 0.001;
  }
  const auto ramp =
      ((torch::arange(features / 2, torch::kFloat32) - low) / (high - low)).clamp(0, 1);
  const auto extrapolated = 1 - ramp;
  return {1 / (scaling.factor * lengths) * (1 - extrapolated) + 1 / lengths * extrapolated,
          scaling.attention_factor};
}

/// The field of the rope's settings, or of the configuration around it.
double number(const json& rope, const std::string& name, const std::string& where) {
  const auto found = rope.find(name);
  require(found != rope.end() && found->is_number(), where, ": rope scaling needs a number '", name,
          "'");
  return found->get<double>();
}

double number_or(const json& rope, const std::string& name, double otherwise) {
  const auto found = rope.find(name);
  return found == rope.end() || found->is_null() || found->get<double>() == 0
             ? otherwise
             : found->get<double>();
}

/// The positions that the model was first trained with.
int64_t original_positions(const json& config, const json& rope, const std::string& where) {
  constexpr const char* kName = "original_max_position_embeddings";
  if (config.contains(kName)) {
    return static_cast<int64_t>(number(config, kName, where));
  }
  return static_cast<int64_t>(rope.contains(kName)
                                  ? number(rope, kName, where)
                                  : number(config, "max_position_embeddings", where));
}

YarnRope yarn(const json& config, const json& rope, const std::string& where) {
  YarnRope scaling;
  scaling.original_positions = original_positions(config, rope, where);
  scaling.factor =
      rope.contains("factor") && !rope["factor"].is_null()
          ? number(rope, "factor", where)
          : number(config, "max_position_embeddings", where) / scaling.original_positions;
  const auto magnitude = [&](double m) {
    return scaling.factor <= 1 ? 1.0 : 0.1 * m * std::log(scaling.factor) + 1;
  };
  const auto m = number_or(rope, "mscale", 0), all = number_or(rope, "mscale_all_dim", 0);
  const auto usual = m != 0 && all != 0 ? magnitude(m) / magnitude(all) : magnitude(1);
  scaling.attention_factor =
      rope.contains("attention_factor") && !rope["attention_factor"].is_null()
          ? number(rope, "attention_factor", where)
          : usual;
  scaling.beta_fast = number_or(rope, "beta_fast", 32);
  scaling.beta_slow = number_or(rope, "beta_slow", 1);
  scaling.truncate = rope.value("truncate", true);
  return scaling;
}

}  // namespace

Rope rope_from(const json& config, const std::string& where) {
  json settings = json::object();
  for (const auto* name : {"rope_parameters", "rope_scaling"}) {  // the latter replaces the former
    if (config.contains(name) && !config[name].is_null()) {
      settings = config[name];
    }
  }
  require(settings.is_object(), where, ": the rope settings are not an object");
  Rope rope;
  rope.theta = settings.contains("rope_theta") ? number(settings, "rope_theta", where)
                                               : number_or(config, "rope_theta", 10000);
  const auto partial =
      settings.value("partial_rotary_factor", config.value("partial_rotary_factor", 1.0));
  require(partial == 1.0, where, ": partial_rotary_factor ", partial,
          " is not known here; all features are rotated");
  const std::string kind =
      settings.value("rope_type", settings.value("type", std::string("default")));
  if (kind == "linear") {
    rope.scaling = LinearRope{number(settings, "factor", where)};
  } else if (kind == "llama3") {
    rope.scaling = Llama3Rope{
        number(settings, "factor", where), number(settings, "low_freq_factor", where),
        number(settings, "high_freq_factor", where), original_positions(config, settings, where)};
  } else if (kind == "yarn") {
    rope.scaling = yarn(config, settings, where);
  } else {
    require(kind == "default", where, ": rope type '", kind,
            "' is not known here; default, linear, llama3 and yarn are");
  }
  return rope;
}

Rotation rotation(const Rope& rope, int64_t features, const std::vector<int64_t>& positions,
                  const torch::TensorOptions& options) {
  const auto [inverse, amplitude] = std::visit(
      [&](const auto& scaling) { return frequencies(scaling, rope, features); }, rope.scaling);
  const auto rows = torch::tensor(positions, torch::kInt64).to(torch::kFloat32);
  const auto angles = rows.unsqueeze(1) * inverse.unsqueeze(0);
  const auto to = options.dtype(torch::kFloat32);
  return {(angles.cos() * amplitude).to(to), (angles.sin() * amplitude).to(to)};
}

Tensor rotate(const Tensor& x, const Rotation& rotation) {
  return rotation.cos.defined() ? rotate_pairs(x, rotation.cos, rotation.sin) : x;
}

}  // namespace motet
