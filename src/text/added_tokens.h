#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pattern.h"

namespace motet::text {

/// A token that is recognised as written, before any pre-tokenisation.
struct AddedToken {
  std::string content;  ///< as the tokenizer's files write it
  std::string pattern;  ///< what is looked for: `content`, normalised if `normalized`
  int64_t id = 0;
  bool single_word = false;  ///< only between characters that are no part of a word
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space behind it
  bool normalized = false;   ///< looked for in the normalised text, not in the raw one
  bool special = false;      ///< left out of a text that is written without special tokens
};

/// A part of a text: an added token, or what lies between two.
struct Part {
  std::string_view text;
  const AddedToken* token = nullptr;
};

/// Finds added tokens: the leftmost, and of those the longest.
class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  /// The parts of `text`, in order; valid while `text` and this live.
  std::vector<Part> split(std::string_view text, MatchSpace& space) const;

 private:
  const AddedToken* longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // by first byte, then the longest first
  std::array<std::size_t, 257>
      first_{};  // first_[b]: where the tokens that start with byte b begin
  Pattern word_character_;
};

}  // namespace motet::text
