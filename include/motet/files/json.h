#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace motet {

/// A JSON text. Throws Error, which begins with `where`, with the byte (from 1) where it stops
/// being JSON, and why: half a surrogate pair among others.
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// Visits each line of a JSONL file that is not blank, as JSON, with its place (`file.jsonl:3`).
/// Throws Error where a line is no JSON, where there is none, and where the file cannot be read.
void for_each_json_line(
    const std::filesystem::path& path,
    const std::function<void(const nlohmann::json& line, const std::string& where)>& visit);

}  // namespace motet
