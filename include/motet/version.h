#pragma once

#include <string_view>

namespace motet {

/// The library's version: "0.2.0".
std::string_view version();

/// The git revision that the library was built from, with `-dirty` where files had changed;
/// "unknown" outside a checkout.
std::string_view revision();

}  // namespace motet
