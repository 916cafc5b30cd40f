#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace motet::text {

/// `pattern`, as Hugging Face writes it for Oniguruma, in the syntax of PCRE2 with the same
/// meaning. Throws Error naming the part whose meaning differs between the two, or may.
std::string from_oniguruma(std::string_view pattern);

/// A pattern that matches exactly `text`.
std::string literal(std::string_view text);

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

/// A regular expression over UTF-8, compiled by PCRE2. Threads may share it.
class Pattern {
 public:
  struct Match {
    std::size_t begin;
    std::size_t end;
  };

  /// Throws Error with PCRE2's reason when `pattern` is malformed.
  explicit Pattern(std::string_view pattern);

  /// The first match in `text` (valid UTF-8) that starts at `from` or later.
  /// Nothing past the end of `text` is seen, nor what is before it.
  std::optional<Match> find(std::string_view text, std::size_t from, MatchSpace& space) const;

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
  std::unique_ptr<pcre2_match_context, Free> context_;
};

}  // namespace motet::text
