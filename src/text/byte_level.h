#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace motet::text {

/// GPT-2's printable stand-in for each byte, in UTF-8: "a" for a, "Ġ" for the space.
/// https://github.com/openai/gpt-2/blob/master/src/encoder.py, bytes_to_unicode.
const std::array<std::string, 256>& byte_symbols();

/// The stand-ins of bytes.
std::string symbols_of(std::string_view bytes);

/// The bytes behind a text of stand-ins; nothing when another character is in it.
std::optional<std::string> bytes_from_symbols(std::string_view symbols);

/// SentencePiece's token for a byte: "<0x0A>".
std::string name_of_byte(std::uint8_t byte);

/// The byte of such a token; nothing for another.
std::optional<std::uint8_t> named_byte(std::string_view token);

}  // namespace motet::text
