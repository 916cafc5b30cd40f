#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace program {

/// The readings of --readings and --select K, which asks for `select` where they do not name it.
inline std::vector<std::string> readings_of(std::vector<std::string> readings,
                                            const std::optional<int64_t>& select) {
  if (select && std::find(readings.begin(), readings.end(), "select") == readings.end()) {
    readings.insert(readings.begin(), "select");
  }
  return readings;
}

}  // namespace program
