#pragma once

#include <string_view>
#include <variant>
#include <vector>

#include "pattern.h"
#include "unicode.h"

namespace motet::text {

/// Cuts a text at the matches of a pattern: each match is a piece, and so is what lies between.
struct Split {
  Pattern pattern;
  bool keep_matches = true;  ///< or drop them, as Hugging Face's behaviour Removed does
};

/// Puts a space before a text that starts with none.
struct PrefixSpace {};

/// One stage of pre-tokenisation; the next runs on each of its pieces as if there were no other
/// text.
using Stage = std::variant<Split, PrefixSpace>;

/// Calls `piece(part)` for each piece of `text` in turn; no piece is empty.
template <class Piece>
void split(const Split& stage, std::string_view text, MatchSpace& space, Piece&& piece) {
  std::size_t done = 0;
  const auto give = [&](std::size_t end) {
    if (end > done) {
      piece(text.substr(done, end - done));
    }
    done = end;
  };
  for (std::size_t from = 0; from <= text.size();) {
    const auto match = stage.pattern.find(text, from, space);
    if (!match) {
      break;
    }
    if (match->begin == match->end && match->end == done) {
      // An empty match just behind a match is none: look one character further, as Hugging Face
      // does.
      from = from == text.size() ? from + 1 : from + first_character(text.substr(from)).size();
      continue;
    }
    give(match->begin);
    if (stage.keep_matches) {
      give(match->end);
    }
    done = from = match->end;
  }
  give(text.size());
}

}  // namespace motet::text
