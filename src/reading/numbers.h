#pragma once

#include <charconv>
#include <iterator>
#include <string>

#include "motet/error.h"

namespace motet {

/// What is farther out than this has no effect that a float could show, and then overflows.
constexpr double kFar = 1e6;

/// Throws Error, which begins with `where`, unless the number is above 0 and no farther out.
inline void require_positive(const char* where, const char* what, double value) {
  require(value >= 1 / kFar && value <= kFar, where, ": ", what, " = ", value, "; it is within ",
          1 / kFar, " and ", kFar);
}

/// "0.5", as short as it can be said.
inline std::string text_of(double value) {
  char text[32];
  return {text, std::to_chars(std::begin(text), std::end(text), value).ptr};
}

}  // namespace motet
