#pragma once

#include <cstdint>
#include <vector>

#include "motet/context/encoded_context.h"
#include "motet/context/layout.h"
#include "motet/model/decoder.h"
#include "motet/probe/probe.h"

namespace motet {

/// Options of `encode`.
struct ContextOptions {
  /// Whether pieces keep the moments of their keys, for readings that estimate from them
  /// (ReadingNeeds::bulk). A Reader makes those that it misses by itself, every time.
  bool moments = false;
  /// Positions that the context, its queries and their answers have together, at most. Models with
  /// LongRope choose their factors by it, for every key and row alike; others do not heed it. At
  /// least what the layout and a query's first token need.
  int64_t reach = 0;
};

/// Runs the model over prefix and pieces, laid end to end in `tokens` as `layout` says: one packed
/// row, in which no piece sees another. Throws Error where tokens and layout differ in number, and
/// where the largest position does not fit a learned table.
EncodedContext encode(const Decoder& model, const std::vector<int64_t>& tokens,
                      const Layout& layout, const Probes& probes = {},
                      const ContextOptions& options = {});

}  // namespace motet
