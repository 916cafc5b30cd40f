#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace program {

/// The readings of --readings and --select K, which asks for `select` where they name no selection.
inline std::vector<std::string> readings_of(std::vector<std::string> readings,
                                            const std::optional<int64_t>& select) {
  const auto selects = [](const std::string& text) {
    return text.substr(0, text.find(':')) == "select";
  };
  if (select && std::none_of(readings.begin(), readings.end(), selects)) {
    readings.insert(readings.begin(), "select");
  }
  return readings;
}

}  // namespace program
