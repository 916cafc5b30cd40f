#pragma once

#include "motet/error.h"

namespace motet {

/// Checks the options that every task on segments of a text has. Throws FieldError.
template <class Options>
void check_segment_options(const Options& options) {
  require(options.scored >= 1, Field("scored"), " ", options.scored,
          ": at least 1 token must be scored");
  require(options.segments >= 1, Field("segments"), " ", options.segments,
          ": at least 1 is needed");
  require(options.skip >= 0, Field("skip"), " ", options.skip, ": a number of segments is wanted");
}

}  // namespace motet
