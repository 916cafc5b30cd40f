#include "added_tokens.h"

#include <algorithm>

#include "unicode.h"

namespace motet::text {
namespace {

std::uint8_t first_byte(std::string_view text) { return static_cast<std::uint8_t>(text[0]); }

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)),
      // \w of the Rust crate regex (Unicode Technical Standard 18, annex C).
      word_character_("[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}]") {
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return first_byte(a.pattern) != first_byte(b.pattern)
               ? first_byte(a.pattern) < first_byte(b.pattern)
               : a.pattern.size() > b.pattern.size();
  });
  for (const auto& token : tokens_) {
    ++first_[first_byte(token.pattern) + 1];
  }
  for (std::size_t byte = 1; byte < first_.size(); ++byte) {
    first_[byte] += first_[byte - 1];
  }
}

const AddedToken* AddedTokens::longest_at(std::string_view text) const {
  const auto byte = first_byte(text);
  for (auto at = first_[byte]; at < first_[byte + 1u]; ++at) {
    if (text.starts_with(tokens_[at].pattern)) {
      return &tokens_[at];
    }
  }
  return nullptr;
}

std::vector<Part> AddedTokens::split(std::string_view text, MatchSpace& space) const {
  std::vector<Part> parts;
  const auto is_word = [&](std::string_view character) {
    return !character.empty() && word_character_.find(character, 0, space).has_value();
  };
  std::size_t done = 0;  // the end of the last part
  for (std::size_t at = 0; at < text.size();) {
    const auto* token = longest_at(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    auto begin = at;
    auto end = at + token->pattern.size();
    at = end;  // no later match starts inside this one, not even if it is refused now
    if (token->single_word && (is_word(last_character(text.substr(0, begin))) ||
                               is_word(first_character(text.substr(end))))) {
      continue;
    }
    if (token->lstrip) {
      begin -= trailing_space(text.substr(0, begin));  // what is before `done` is taken already
    }
    if (token->rstrip) {
      end += leading_space(text.substr(end));
    }
    if (done < begin) {
      parts.push_back({text.substr(done, begin - done)});
    }
    parts.push_back({{}, token});
    done = end;  // as Hugging Face: back, where white space taken before starts another token
  }
  if (done < text.size()) {
    parts.push_back({text.substr(done)});
  }
  return parts;
}

}  // namespace motet::text
