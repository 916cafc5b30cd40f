#include "motet/model/rope.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "kernel/elementwise.h"
#include "motet/error.h"
#include "motet/model/config.h"

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

Frequencies frequencies(const DefaultRope&, const Rope& rope, int64_t features, int64_t) {
  return {1 / wavelengths(rope, features)};
}

Frequencies frequencies(const LinearRope& scaling, const Rope& rope, int64_t features, int64_t) {
  return {1 / wavelengths(rope, features) / scaling.factor};
}

Frequencies frequencies(const Llama3Rope& scaling, const Rope& rope, int64_t features, int64_t) {
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

Frequencies frequencies(const YarnRope& scaling, const Rope& rope, int64_t features, int64_t) {
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

Frequencies frequencies(const LongRope& scaling, const Rope& rope, int64_t features,
                        int64_t reach) {
  const auto& factors =
      reach > scaling.original_positions ? scaling.long_factors : scaling.short_factors;
  const auto factor = torch::tensor(factors, torch::kFloat64).to(torch::kFloat32);
  return {1 / (factor * wavelengths(rope, features)), scaling.attention_factor};
}

/// What a kind of scaling is read from: its settings, and the configuration around them.
struct Source {
  const ConfigReader& settings;
  const ConfigReader& config;
  const RopeDefaults& defaults;

  int64_t positions() const { return config.size("max_position_embeddings", defaults.positions); }

  /// The positions that the model was first trained with.
  int64_t original_positions() const {
    constexpr const char* kName = "original_max_position_embeddings";
    if (!config.absent(kName)) {
      return config.size(kName);
    }
    return settings.size(kName, positions());
  }

  /// The factor, or else how many times the first positions there are now.
  double factor() const {
    return settings.has("factor")
               ? settings.positive("factor")
               : static_cast<double>(positions()) / static_cast<double>(original_positions());
  }
};

/// A number above 0, or `otherwise` where it is absent, null or 0.
double number_or(const ConfigReader& settings, const char* name, double otherwise) {
  const auto value = settings.number_or_null(name, {}).value_or(0);
  return value == 0 ? otherwise : value;
}

YarnRope yarn(const Source& from) {
  const auto& settings = from.settings;
  YarnRope scaling;
  scaling.original_positions = from.original_positions();
  scaling.factor = from.factor();
  const auto magnitude = [&](double m) {
    return scaling.factor <= 1 ? 1.0 : 0.1 * m * std::log(scaling.factor) + 1;
  };
  const auto m = number_or(settings, "mscale", 0), all = number_or(settings, "mscale_all_dim", 0);
  const auto usual = m != 0 && all != 0 ? magnitude(m) / magnitude(all) : magnitude(1);
  scaling.attention_factor = settings.number_or_null("attention_factor", {}).value_or(usual);
  scaling.beta_fast = number_or(settings, "beta_fast", 32);
  scaling.beta_slow = number_or(settings, "beta_slow", 1);
  // null counts as false there.
  scaling.truncate = !settings.is_null("truncate") && settings.flag("truncate", true);
  return scaling;
}

LongRope longrope(const Source& from, int64_t rotated) {
  const auto& settings = from.settings;
  LongRope scaling;
  scaling.original_positions = from.original_positions();
  const auto factor = from.factor();
  const auto usual =
      factor <= 1 ? 1.0
                  : std::sqrt(1 + std::log(factor) /
                                      std::log(static_cast<double>(scaling.original_positions)));
  scaling.attention_factor = settings.number_or_null("attention_factor", {}).value_or(usual);
  const auto factors = [&](const char* name) {
    auto list = settings.numbers(name);
    if (rotated > 0 && static_cast<int64_t>(list.size()) != rotated / 2) {
      settings.fail(name, std::to_string(rotated / 2) + " numbers, one for each rotated pair,");
    }
    if (std::any_of(list.begin(), list.end(), [](double one) { return !(one > 0); })) {
      settings.fail(name, "numbers above 0");
    }
    return list;
  };
  scaling.short_factors = factors("short_factor");
  scaling.long_factors = factors("long_factor");
  return scaling;
}

}  // namespace

int64_t Rope::rotated(int64_t features) const {
  return static_cast<int64_t>(static_cast<double>(features) * share);
}

Rope rope_of(const ConfigReader& settings, const ConfigReader& config,
             const RopeDefaults& defaults) {
  const Source from{settings, config, defaults};
  Rope rope;
  rope.theta = settings.absent("rope_theta") ? config.positive("rope_theta", defaults.theta)
                                             : settings.positive("rope_theta");
  const auto share = [&](const ConfigReader& of, double otherwise) {
    return of.number_or_null("partial_rotary_factor", {}).value_or(otherwise);
  };
  rope.share = share(settings, share(config, defaults.share));
  if (!(rope.share > 0 && rope.share <= 1) || (rope.share != 1 && !defaults.partial)) {
    (settings.has("partial_rotary_factor") ? settings : config)
        .fail("partial_rotary_factor",
              defaults.partial ? "a share above 0, at most 1," : "1, as the family rotates all,");
  }
  const char* named = settings.absent("rope_type") ? "type" : "rope_type";
  const auto kind = settings.text(named, "default");
  if (kind == "linear") {
    rope.scaling = LinearRope{settings.positive("factor")};
  } else if (kind == "llama3") {
    rope.scaling = Llama3Rope{settings.positive("factor"), settings.number("low_freq_factor"),
                              settings.number("high_freq_factor"), from.original_positions()};
  } else if (kind == "yarn") {
    if (rope.theta == 1) {
      (settings.absent("rope_theta") ? config : settings).fail("rope_theta", "a number beside 1");
    }
    rope.scaling = yarn(from);
  } else if (kind == "longrope" || kind == "su") {
    const auto heads = config.size("num_attention_heads", 0, 0);
    const auto features = config.has("head_dim") ? config.size("head_dim")
                          : heads > 0            ? config.size("hidden_size", 0, 0) / heads
                                                 : 0;
    rope.scaling = longrope(from, rope.rotated(features));
  } else if (kind != "default") {
    settings.fail(named, "default, linear, llama3, yarn or longrope");
  }
  return rope;
}

Rope rope_from(const json& config, const std::string& where, const RopeDefaults& defaults) {
  const ConfigReader read(config, where);
  const auto scaling = read.object("rope_scaling");  // where it says something, it goes first
  const auto* name = scaling.empty() ? "rope_parameters" : "rope_scaling";
  const auto settings = read.object(name);
  if (!settings.empty()) {
    for (const auto& [field, value] : config.at(name).items()) {
      if (value.is_object() || field.ends_with("_attention")) {  // of one kind of layer
        settings.fail(field.c_str(), "nothing, as the family has one rope for all layers,");
      }
    }
  }
  return rope_of(settings, read, defaults);
}

Rotation rotation(const Rope& rope, int64_t features, const std::vector<int64_t>& positions,
                  const torch::TensorOptions& options, int64_t reach) {
  for (const auto position : positions) {
    reach = std::max(reach, position + 1);
  }
  const auto [inverse, amplitude] = std::visit(
      [&](const auto& scaling) {
        return frequencies(scaling, rope, rope.rotated(features), reach);
      },
      rope.scaling);
  const auto rows = torch::tensor(positions, torch::kInt64).to(torch::kFloat32);
  const auto angles = rows.unsqueeze(1) * inverse.unsqueeze(0);
  const auto to = options.dtype(torch::kFloat32);
  return {(angles.cos() * amplitude).to(to), (angles.sin() * amplitude).to(to)};
}

Tensor rotate(const Tensor& x, const Rotation& rotation) {
  if (!rotation.cos.defined()) {
    return x;
  }
  const auto rotated = 2 * rotation.cos.size(1);
  if (rotated == 0) {  // of a share that comes to no feature
    return x;
  }
  if (rotated >= x.size(-1)) {
    return rotate_pairs(x, rotation.cos, rotation.sin);
  }
  return torch::cat({rotate_pairs(x.slice(-1, 0, rotated).contiguous(), rotation.cos, rotation.sin),
                     x.slice(-1, rotated)},
                    -1);
}

}  // namespace motet
