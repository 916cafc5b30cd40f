#pragma once

#include <cstdint>

#include "motet/error.h"

namespace motet {

/// Checks the options that every task on segments of a text has. Throws FieldError.
template <class Options>
void check_segment_options(const Options& options) {
  constexpr int64_t kMost = int64_t{1} << 40;
  require(options.length <= kMost, Field("length"), " ", options.length, ": at most ", kMost,
          " tokens");
  require(options.scored >= 1, Field("scored"), " ", options.scored,
          ": at least 1 token must be scored");
  require(options.segments >= 1, Field("segments"), " ", options.segments,
          ": at least 1 is needed");
  require(options.skip >= 0, Field("skip"), " ", options.skip, ": a number of segments is wanted");
}

}  // namespace motet
