#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "json_field.h"
#include "pattern.h"

namespace motet::text {

/// Makes text of tokens: steps on each token, until one joins them, and then on the whole.
class TokenDecoder {
 public:
  struct ReplaceIn {
    Pattern pattern;
    std::string content;
  };
  struct FromStandIns {};  ///< ByteLevel: stand-ins become bytes; joins
  struct FromByteName {};  ///< ByteFallback: a token such as <0x0A> becomes its byte
  struct Join {};          ///< Fuse
  struct StripFrom {
    std::string content;  ///< one character
    int64_t start = 0;    ///< how many of it go at the start, at most
    int64_t stop = 0;     ///< and at the end
  };
  struct FromMark {
    std::string mark;         ///< becomes a space
    bool drop_first = false;  ///< or nothing, in the first token
  };
  using Step = std::variant<ReplaceIn, FromStandIns, FromByteName, Join, StripFrom, FromMark>;

  /// Without steps tokens are joined by spaces, as Hugging Face does for files that name no
  /// decoder.
  TokenDecoder() = default;
  /// Reads the field `decoder`. Throws Error.
  explicit TokenDecoder(const Field& decoder) { read(decoder); }
  static TokenDecoder byte_level();

  /// The bytes of one token, before tokens are joined.
  std::string one(std::string_view token, bool is_first) const;
  /// Whether the first token's bytes may differ from what it has behind others.
  bool heeds_first() const;
  /// What goes between tokens.
  std::string_view between() const { return steps_.empty() ? " " : ""; }
  /// The text of all tokens' bytes, joined.
  std::string whole(std::string joined) const;

 private:
  void read(const Field& decoder);
  std::size_t joining() const;  // the step that joins, or their number

  std::vector<Step> steps_;
};

}  // namespace motet::text
