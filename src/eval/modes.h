#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "motet/reading/reading.h"

namespace motet {

/// A reading that a run asks for, and what its modes are called.
struct ReadingMode {
  std::string without_prefix, with_prefix;
  int64_t selected;  // K; 0 where every piece is read
  std::shared_ptr<const Reading> reading;
  bool without_pieces;  // whether it changes rows of ordinary attention, too
};

/// The readings that options name. `select` is what stands for a `select` without options. Throws
/// FieldError for `all`, and for one that is given twice.
std::vector<ReadingMode> reading_modes(const std::vector<std::string>& readings,
                                       const std::string& select);

/// Throws FieldError where there is no degree, one below `least`, or one twice.
void check_degrees(const std::vector<int64_t>& degrees, int64_t least);

}  // namespace motet
