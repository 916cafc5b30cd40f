#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace motet::text {

/// The offset of the first byte that starts no valid UTF-8 character; npos when all is valid.
std::size_t first_invalid_byte(std::string_view text);

/// The bytes of white space (Unicode's White_Space) that `text`, valid UTF-8, starts and ends with.
std::size_t leading_space(std::string_view text);
std::size_t trailing_space(std::string_view text);

/// The first and the last character of valid UTF-8, as bytes; empty for an empty text.
std::string_view first_character(std::string_view text);
std::string_view last_character(std::string_view text);

/// The code point of one character.
char32_t code_point(std::string_view character);

/// Normalisation form C of valid UTF-8 (Unicode Standard Annex 15).
std::string nfc(std::string_view text);

/// Valid UTF-8 in lower case, character by character.
std::string lower(std::string_view text);

/// `bytes` as valid UTF-8: U+FFFD in place of every byte that belongs to no character.
std::string lossy(std::string_view bytes);

/// Whether no byte is above 127.
bool is_ascii(std::string_view text);

}  // namespace motet::text
