#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace motet::text {

class Field;

/// `pattern`, as Hugging Face writes it for Oniguruma, in the syntax of PCRE2 with the same
/// meaning. Throws Error naming the part whose meaning differs between the two, or may.
std::string from_oniguruma(std::string_view pattern);

/// What a search writes to: one for each thread that searches.
class MatchSpace {
 public:
  MatchSpace();

 private:
  friend class Pattern;
  struct Free {
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  std::unique_ptr<pcre2_match_data, Free> data_;
};

/// What is looked for in UTF-8: a regular expression, compiled by PCRE2, or a text as it is.
/// Threads may share it.
class Pattern {
 public:
  struct Match {
    std::size_t begin;
    std::size_t end;
  };

  /// Throws Error with PCRE2's reason when `pattern` is malformed.
  explicit Pattern(std::string_view pattern);
  /// Matches exactly `text`; an empty one matches between all characters.
  static Pattern literal(std::string_view text);

  /// Whether it is a text that is not empty.
  bool is_literal() const { return !text_.empty(); }

  /// The first match in `text` (valid UTF-8) that starts at `from` or later.
  /// Nothing past the end of `text` is seen, nor what is before it.
  std::optional<Match> find(std::string_view text, std::size_t from, MatchSpace& space) const;

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  };
  Pattern() = default;
  std::string text_;  // looked for by itself, unless empty
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_context, Free> context_;
};

/// The matches in a text, one after another, as Oniguruma gives them: an empty one just behind
/// another is none.
class Matches {
 public:
  Matches(const Pattern& pattern, std::string_view text, MatchSpace& space)
      : pattern_(pattern), text_(text), space_(space) {}

  std::optional<Pattern::Match> next();

 private:
  const Pattern& pattern_;
  std::string_view text_;
  MatchSpace& space_;
  std::size_t from_ = 0;
  std::optional<std::size_t> last_end_;
};

/// Of a field with "String" or "Regex", as components of a tokenizer have it. Throws Error.
Pattern pattern_of(const Field& field);

}  // namespace motet::text
