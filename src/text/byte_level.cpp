#include "byte_level.h"

#include <unordered_map>

#include "unicode.h"

namespace motet::text {

const std::array<std::string, 256>& byte_symbols() {
  static const auto symbols = [] {
    std::array<std::string, 256> made;
    int replaced = 0;
    for (int byte = 0; byte < 256; ++byte) {
      const bool printable =
          (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
      const int point = printable ? byte : 256 + replaced++;
      if (point < 0x80) {
        made[byte] = static_cast<char>(point);
      } else {
        made[byte] = {static_cast<char>(0xC0 | (point >> 6)),
                      static_cast<char>(0x80 | (point & 0x3F))};
      }
    }
    return made;
  }();
  return symbols;
}

std::optional<std::string> bytes_from_symbols(std::string_view symbols) {
  static const auto byte_of = [] {
    std::unordered_map<std::string_view, char> made;
    for (int byte = 0; byte < 256; ++byte) {
      made.emplace(byte_symbols()[byte], static_cast<char>(byte));
    }
    return made;
  }();
  std::string bytes;
  while (!symbols.empty()) {
    const auto symbol = first_character(symbols);
    const auto found = byte_of.find(symbol);
    if (found == byte_of.end()) {
      return std::nullopt;
    }
    bytes += found->second;
    symbols.remove_prefix(symbol.size());
  }
  return bytes;
}

}  // namespace motet::text
