#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "motet/eval/run.h"

namespace motet {

/// The document that DESIGN section 11 describes; null where a figure cannot be had.
nlohmann::ordered_json json_of(const Run& run);

/// Writes `run.json`, whole or not at all. Throws Error.
void save_run(const Run& run, const std::filesystem::path& path);

/// Reads what `save_run` wrote. Throws Error for a file that is damaged or of another schema.
Run load_run(const std::filesystem::path& path);

}  // namespace motet
