#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace motet::report {

/// A `run.json` of this program and schema. Throws Error for anything else.
nlohmann::ordered_json read_run(const std::filesystem::path& path, const std::string& program,
                                int64_t schema);

}  // namespace motet::report
