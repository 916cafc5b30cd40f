#include "eval/compare_cost.h"

#include "motet/model/encode.h"

namespace motet::compare {
namespace {

/// FLOPs of the products that one layer makes for `rows` rows that see `pairs` keys in all.
double layer_flops(const Config& config, double rows, double pairs) {
  const auto width = static_cast<double>(config.width);
  const auto heads = static_cast<double>(config.heads * config.features);
  const auto keys = static_cast<double>(config.kv_heads * config.features);
  const auto mlps = config.gated ? 3.0 : 2.0;
  const auto weights = 2 * width * heads + 2 * width * keys + mlps * width * config.inner;
  return 2 * rows * weights + 4 * pairs * heads;
}

}  // namespace

Cost cost_of(const Config& config, const Layout& layout, int64_t query, double passes) {
  const auto encode = encode_sets(layout);
  const auto read = read_sets(layout.prefix, layout.pieces, {query}, {0});
  const auto rows = static_cast<double>(query);
  return {layer_flops(config, static_cast<double>(layout.tokens()),
                      static_cast<double>(encode.pairs())),
          passes * layer_flops(config, rows, static_cast<double>(read.pairs())),
          2 * rows * static_cast<double>(config.width * config.vocabulary)};
}

double passes_of(const Mode& mode) {
  if (mode.ensemble) {
    return static_cast<double>(mode.ensemble->members(mode.pieces));
  }
  return mode.reading->needs().layers ? 2 : 1;
}

std::vector<int64_t> prefix_of(const CompareOptions& options, bool prefix) {
  auto tokens = options.bos;
  if (prefix) {
    tokens.insert(tokens.end(), options.prefix.begin(), options.prefix.end());
  }
  return tokens;
}

Layout layout_of(const CompareOptions& options, int64_t pieces, bool prefix) {
  return make_layout(static_cast<int64_t>(prefix_of(options, prefix).size()),
                     split_tokens(options.context(), pieces), options.positions);
}

Layout layout_of(const CompareOptions& options, const Mode& mode) {
  return layout_of(options, mode.pieces, mode.prefix);
}

bool share_context(const Mode& a, const Mode& b) {
  return a.pieces == b.pieces && a.prefix == b.prefix;
}

}  // namespace motet::compare
