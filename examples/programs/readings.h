#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "program.h"

namespace program {

/// The readings of --readings and --select K, which asks for `select` where they name no selection.
/// Throws UsageError where they name one with a K of its own, and none that takes this one.
inline std::vector<std::string> readings_of(std::vector<std::string> readings,
                                            const std::optional<int64_t>& select) {
  const auto selects = [](const std::string& text) {
    return text.substr(0, text.find(':')) == "select";
  };
  const auto takes = [](const std::string& text) { return text == "select"; };
  const auto own = std::find_if(readings.begin(), readings.end(), selects);
  if (select && own == readings.end()) {
    readings.insert(readings.begin(), "select");
  } else if (select && std::none_of(readings.begin(), readings.end(), takes)) {
    throw UsageError(
        fmt::format("--select {}: --readings {} has a K of its own; leave one out", *select, *own));
  }
  return readings;
}

}  // namespace program
