#include "motet/model/oracle.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "motet/error.h"
#include "motet/model/rope.h"

namespace motet {
namespace {

using torch::Tensor;

/// Keys that were rotated for positions `from`, rotated for positions `to` instead.
/// The reaches are those of the contexts.
Tensor placed(const Config& config, int64_t layer, const Tensor& keys,
              const std::vector<int64_t>& from, int64_t from_reach, const std::vector<int64_t>& to,
              int64_t to_reach) {
  const auto& rope = config.rope_in(layer);
  const bool alike = config.takes_long_factors(from_reach) == config.takes_long_factors(to_reach);
  if (!rope || (from == to && alike)) {
    return keys;
  }
  const auto options = keys.options();
  const auto back = rotation(*rope, config.features, from, options, from_reach);
  const auto amplitude = back.cos.square() + back.sin.square();  // not 1 where the family scales
  // In float64: rotated twice, rounded once.
  const auto plain =
      rotate(keys.to(torch::kFloat64), {back.cos / amplitude, -back.sin / amplitude});
  return rotate(plain, rotation(*rope, config.features, to, options, to_reach))
      .to(keys.scalar_type());
}

}  // namespace

std::string OracleOptions::name() const {
  std::string ranges;
  for (std::size_t i = 0; i < layers.size();) {
    auto last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) {
      ++last;
    }
    ranges += fmt::format("{}{}", i > 0 ? "+" : "", layers[i]);
    if (last > i) {
      ranges += fmt::format("-{}", layers[last]);
    }
    i = last + 1;
  }
  return fmt::format("{}{}{}",
                     keys && values ? "both"
                     : keys         ? "keys"
                                    : "values",
                     layers.empty()      ? ""
                     : every_other_layer ? ":not:"
                                         : ":",
                     ranges);
}

bool OracleOptions::in_layer(int64_t layer) const {
  return layers.empty() ||
         (std::find(layers.begin(), layers.end(), layer) != layers.end()) != every_other_layer;
}

void OracleOptions::validate(const Config& config) const {
  require(keys || values, "motet::oracle: neither keys nor values are taken");
  for (const auto layer : layers) {
    require(layer >= 0 && layer < config.layers, "motet::oracle: layer ", layer,
            ", but the model has ", config.layers, ", counted from 0");
  }
}

OracleOptions oracle_named(std::string_view text) {
  const auto wrong = [&](const auto&... why) {
    fail("the oracle '", text, "': ", why...,
         "; it is keys, values or both, then, if not in all layers, :LAYERS or :not:LAYERS, as "
         "both:0+4-9");
  };
  const auto colon = std::min(text.find(':'), text.size());
  const auto what = text.substr(0, colon);
  OracleOptions options{.keys = what != "values", .values = what != "keys", .layers = {}};
  if (what != "keys" && what != "values" && what != "both") {
    wrong("'", what, "' cannot be taken");
  }
  if (colon == text.size()) {
    return options;
  }
  auto rest = text.substr(colon + 1);
  constexpr std::string_view kNot = "not:";
  if (rest.substr(0, kNot.size()) == kNot) {
    options.every_other_layer = true;
    rest.remove_prefix(kNot.size());
  }
  for (std::size_t first = 0; first <= rest.size();) {
    const auto last = std::min(rest.find('+', first), rest.size());
    const auto range = rest.substr(first, last - first);
    const auto* end = range.data() + range.size();
    int64_t from = 0, to = 0;
    auto read = std::from_chars(range.data(), end, from);
    to = from;
    if (read.ec == std::errc() && read.ptr != end && *read.ptr == '-') {
      read = std::from_chars(read.ptr + 1, end, to);
    }
    if (read.ec != std::errc() || read.ptr != end || from < 0 || to < from) {
      wrong("'", range, "' is neither a layer nor a range of layers");
    }
    for (auto layer = from; layer <= to; ++layer) {
      options.layers.push_back(layer);
    }
    first = last + 1;
  }
  std::sort(options.layers.begin(), options.layers.end());
  options.layers.erase(std::unique(options.layers.begin(), options.layers.end()),
                       options.layers.end());
  return options;
}

EncodedContext oracle(const Config& config, const EncodedContext& parallel,
                      const EncodedContext& full, const OracleOptions& options) {
  options.validate(config);
  require(full.pieces.size() == 1, "motet::oracle: the full run has ", full.pieces.size(),
          " pieces; all of the context is one piece in it");
  std::vector<int64_t> tokens;
  for (const auto& piece : parallel.pieces) {
    tokens.insert(tokens.end(), piece.tokens.begin(), piece.tokens.end());
  }
  require(full.prefix.tokens == parallel.prefix.tokens && full.pieces[0].tokens == tokens,
          "motet::oracle: the full run is of ", full.prefix.length(), " + ",
          full.pieces[0].length(), " tokens, prefix + pieces, and the context of ",
          parallel.prefix.length(), " + ", tokens.size(), "; they are of the same tokens");
  auto mixed = parallel;
  const auto& source = full.pieces[0];
  int64_t first = 0;
  for (auto& piece : mixed.pieces) {
    const auto last = first + piece.length();
    const std::vector<int64_t> from(source.positions.begin() + first,
                                    source.positions.begin() + last);
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      if (!options.in_layer(layer)) {
        continue;
      }
      if (options.keys) {
        piece.keys[layer] = placed(config, layer, source.keys[layer].slice(2, first, last), from,
                                   full.reach, piece.positions, parallel.reach)
                                .contiguous();
        if (!piece.moments.empty()) {
          piece.moments.at(layer) = moments_of(piece.keys[layer]);
        }
      }
      if (options.values) {
        piece.values[layer] = source.values[layer].slice(2, first, last).contiguous();
      }
    }
    first = last;
  }
  return mixed;
}

}  // namespace motet
