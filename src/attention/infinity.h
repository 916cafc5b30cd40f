#pragma once

#include <limits>

namespace motet {

/// -kInfinity is the lse of no keys, and the log weight of a set that is dropped.
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();

}  // namespace motet
