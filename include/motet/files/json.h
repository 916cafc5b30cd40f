#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace motet {

/// A JSON text. Throws Error, which begins with `where`, with the byte (from 1) where it stops
/// being JSON, and why: half a surrogate pair among others.
nlohmann::json parse_json(std::string_view text, const std::string& where);

}  // namespace motet
