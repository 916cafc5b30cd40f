#include "unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "motet/error.h"

namespace motet::text {
namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080;

std::uint8_t byte_at(std::string_view text, std::size_t at) {
  return static_cast<std::uint8_t>(text[at]);
}

bool is_continuation(std::uint8_t byte) { return (byte & 0xC0) == 0x80; }

/// The length of a character from its first byte, in valid UTF-8.
std::size_t length_from(std::uint8_t lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

/// The length of the character at `at`, or 0 where the bytes are not UTF-8
/// (Unicode Standard, table 3-7: no overlong forms, no surrogates, nothing past U+10FFFF).
std::size_t valid_length(std::string_view text, std::size_t at) {
  const auto lead = byte_at(text, at);
  if (lead < 0x80) {
    return 1;
  }
  const auto length = length_from(lead);
  if (lead < 0xC2 || lead > 0xF4 || length > text.size() - at) {
    return 0;
  }
  const auto second = byte_at(text, at + 1);
  const std::uint8_t low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const std::uint8_t high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (second < low || second > high) {
    return 0;
  }
  for (std::size_t i = 2; i < length; ++i) {
    if (!is_continuation(byte_at(text, at + i))) {
      return 0;
    }
  }
  return length;
}

bool is_space(char32_t point) {
  return (point >= 0x09 && point <= 0x0D) || point == 0x20 || point == 0x85 || point == 0xA0 ||
         point == 0x1680 || (point >= 0x2000 && point <= 0x200A) || point == 0x2028 ||
         point == 0x2029 || point == 0x202F || point == 0x205F || point == 0x3000;
}

int combining_class(utf8proc_int32_t point) {
  return utf8proc_get_property(point)->combining_class;
}

}  // namespace

bool is_ascii(std::string_view text) {
  std::size_t at = 0;
  for (std::uint64_t eight; text.size() - at >= sizeof eight; at += sizeof eight) {
    std::memcpy(&eight, text.data() + at, sizeof eight);
    if ((eight & kHighBits) != 0) {
      return false;
    }
  }
  return std::all_of(text.begin() + at, text.end(), [](char c) { return (c & 0x80) == 0; });
}

std::size_t first_invalid_byte(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    std::uint64_t eight = kHighBits;
    if (text.size() - at >= sizeof eight) {
      std::memcpy(&eight, text.data() + at, sizeof eight);
    }
    if ((eight & kHighBits) == 0) {
      at += sizeof eight;
      continue;
    }
    const auto length = valid_length(text, at);
    if (length == 0) {
      return at;
    }
    at += length;
  }
  return std::string_view::npos;
}

std::string_view first_character(std::string_view text) {
  return text.substr(0, text.empty() ? 0 : length_from(byte_at(text, 0)));
}

std::string_view last_character(std::string_view text) {
  auto at = text.size();
  while (at > 0 && is_continuation(byte_at(text, --at))) {
  }
  return text.substr(at);
}

char32_t code_point(std::string_view character) {
  const auto lead = byte_at(character, 0);
  if (lead < 0x80) {
    return lead;
  }
  char32_t point = lead & (0xFF >> (character.size() + 1));
  for (std::size_t i = 1; i < character.size(); ++i) {
    point = (point << 6) | (byte_at(character, i) & 0x3F);
  }
  return point;
}

std::size_t leading_space(std::string_view text) {
  std::size_t space = 0;
  while (space < text.size()) {
    const auto character = first_character(text.substr(space));
    if (!is_space(code_point(character))) {
      break;
    }
    space += character.size();
  }
  return space;
}

std::size_t trailing_space(std::string_view text) {
  std::size_t space = 0;
  while (space < text.size()) {
    const auto character = last_character(text.substr(0, text.size() - space));
    if (!is_space(code_point(character))) {
      break;
    }
    space += character.size();
  }
  return space;
}

std::string nfc(std::string_view text) {
  constexpr auto kOptions = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  while (!text.empty()) {
    const auto character = first_character(text);
    text.remove_prefix(character.size());
    std::array<utf8proc_int32_t, 8> parts;  // no canonical decomposition is longer than 4
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point(character)),
                                               parts.data(), parts.size(), kOptions, nullptr);
    require(count >= 0, "motet: Unicode decomposition: ", utf8proc_errmsg(count));
    points.insert(points.end(), parts.begin(), parts.begin() + count);
  }
  // Marks go into canonical order here, since utf8proc's own ordering is quadratic in a run of
  // them.
  const auto is_mark = [](utf8proc_int32_t point) { return combining_class(point) != 0; };
  const auto by_class = [](auto a, auto b) { return combining_class(a) < combining_class(b); };
  for (auto begin = points.begin(); begin != points.end();) {
    begin = std::find_if(begin, points.end(), is_mark);
    const auto end = std::find_if_not(begin, points.end(), is_mark);
    if (!std::is_sorted(begin, end, by_class)) {
      std::stable_sort(begin, end, by_class);
    }
    begin = end;
  }
  const auto length = utf8proc_normalize_utf32(
      points.data(), static_cast<utf8proc_ssize_t>(points.size()), kOptions);
  require(length >= 0, "motet: Unicode composition: ", utf8proc_errmsg(length));
  std::string composed;
  composed.reserve(points.size());
  for (const auto point : std::span(points).first(static_cast<std::size_t>(length))) {
    std::array<utf8proc_uint8_t, 4> bytes;
    const auto size = utf8proc_encode_char(point, bytes.data());
    composed.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size));
  }
  return composed;
}

std::string lower(std::string_view text) {
  std::string lowered;
  lowered.reserve(text.size());
  while (!text.empty()) {
    const auto character = first_character(text);
    text.remove_prefix(character.size());
    std::array<utf8proc_uint8_t, 4> bytes;
    const auto point = utf8proc_tolower(static_cast<utf8proc_int32_t>(code_point(character)));
    const auto size = utf8proc_encode_char(point, bytes.data());
    lowered.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size));
  }
  return lowered;
}

std::string lossy(std::string_view bytes) {
  std::string valid;
  while (true) {
    const auto invalid = first_invalid_byte(bytes);
    valid += bytes.substr(0, invalid);
    if (invalid == std::string_view::npos) {
      return valid;
    }
    valid += "\xEF\xBF\xBD";
    bytes.remove_prefix(invalid + 1);
  }
}

}  // namespace motet::text
