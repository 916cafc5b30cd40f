#include "byte_level.h"

#include <charconv>
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

std::string symbols_of(std::string_view bytes) {
  std::string symbols;
  for (const char byte : bytes) {
    symbols += byte_symbols()[static_cast<std::uint8_t>(byte)];
  }
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

std::string name_of_byte(std::uint8_t byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte >> 4], kDigits[byte & 15], '>'};
}

std::optional<std::uint8_t> named_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || !token.ends_with('>')) {
    return std::nullopt;
  }
  std::uint8_t byte = 0;
  const auto digits = token.substr(3, 2);
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), byte, 16);
  return read.ptr == digits.data() + digits.size() ? std::optional(byte) : std::nullopt;
}

}  // namespace motet::text
