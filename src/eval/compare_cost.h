#pragma once

#include <cstdint>
#include <vector>

#include "motet/eval/compare.h"

namespace motet::compare {

/// FLOPs of the products of one mode: of a layer while the context is encoded and while the query
/// is read, and of the logits.
struct Cost {
  double encode_layer, read_layer, head;
};

/// `passes`: how often the reading has the layers run over the query.
Cost cost_of(const Config& config, const Layout& layout, int64_t query, double passes = 1);
/// How often the mode has the layers run over the query: an ensemble once for each member.
double passes_of(const Mode& mode);

/// Tokens that every piece sees: BOS, and the prefix in modes that have it.
std::vector<int64_t> prefix_of(const CompareOptions& options, bool prefix);
/// The layout of `pieces` pieces of a segment's context.
Layout layout_of(const CompareOptions& options, int64_t pieces, bool prefix);
/// The layout of a mode.
Layout layout_of(const CompareOptions& options, const Mode& mode);
/// Whether modes read the same encoded context.
bool share_context(const Mode& a, const Mode& b);

}  // namespace motet::compare
