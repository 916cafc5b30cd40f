#include "pattern.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>

#include "json_field.h"
#include "motet/error.h"
#include "unicode.h"

namespace motet::text {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string message_of(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

/// Translates from left to right; what is not known to mean the same in both syntaxes is refused.
class Translation {
 public:
  explicit Translation(std::string_view pattern) : rest_(pattern) {}

  std::string run() {
    while (!rest_.empty()) {
      if (rest_[0] == '\\') {
        escape();
      } else if (rest_[0] == '[') {
        character_class();
      } else if (rest_[0] == '(') {
        group();
      } else if (rest_[0] == ')') {
        --depth_;
        caseless_depth_ = depth_ < caseless_depth_ ? kNone : caseless_depth_;
        take(1);
      } else if (rest_[0] == '{') {
        repetition();
      } else {
        take(1);
      }
    }
    return std::move(translated_);
  }

 private:
  static constexpr int kNone = std::numeric_limits<int>::max();

  void take(std::size_t count) { replace(count, std::string(rest_.substr(0, count))); }

  void replace(std::size_t count, const std::string& with) {
    translated_ += with;
    rest_.remove_prefix(std::min(count, rest_.size()));
  }

  [[noreturn]] void refuse(std::size_t count) {
    fail("regular expression: \"", rest_.substr(0, count), "\" is not supported");
  }

  void escape() {
    const char kind = rest_.size() > 1 ? rest_[1] : '\0';
    if (kind == 's' || kind == 'S') {  // PCRE2's own \s also matches U+180E
      replace(2, kind == 's' ? "\\p{White_Space}" : "\\P{White_Space}");
    } else if (kind == 'd' || kind == 'D') {
      replace(2, kind == 'd' ? "\\p{Nd}" : "\\P{Nd}");
    } else if (kind == 'p' || kind == 'P') {
      property();
    } else if (kind == 'r' || kind == 'n' || kind == 't' || kind == 'A' || kind == 'z' ||
               (kind >= ' ' && kind <= '~' && !is_letter(kind) && !is_digit(kind))) {
      take(2);
    } else {
      refuse(2);
    }
  }

  /// \p{..}: general categories are the same; another name is a script, which PCRE2 would extend.
  void property() {
    const auto close = rest_.find('}');
    // Without case, PCRE2 makes Lu, Ll and Lt one; Oniguruma does not.
    if (rest_.substr(2, 1) != "{" || close == std::string_view::npos || caseless_depth_ != kNone) {
      refuse(2);
    }
    auto name = rest_.substr(3, close - 3);
    std::string start(rest_.substr(0, 3));
    if (name.starts_with('^')) {
      start += '^';
      name.remove_prefix(1);
    }
    if (name.empty() ||
        !std::all_of(name.begin(), name.end(), [](char c) { return is_letter(c) || c == '_'; })) {
      refuse(close + 1);
    }
    replace(close + 1, start + name_of(name) + "}");
  }

  /// What PCRE2 calls a property: general categories have short names there.
  static std::string name_of(std::string_view property) {
    static constexpr std::array<std::pair<std::string_view, std::string_view>, 39> kNames{{
        {"Letter", "L"},
        {"Lowercase_Letter", "Ll"},
        {"Uppercase_Letter", "Lu"},
        {"Titlecase_Letter", "Lt"},
        {"Modifier_Letter", "Lm"},
        {"Other_Letter", "Lo"},
        {"Mark", "M"},
        {"Nonspacing_Mark", "Mn"},
        {"Spacing_Mark", "Mc"},
        {"Enclosing_Mark", "Me"},
        {"Number", "N"},
        {"Decimal_Number", "Nd"},
        {"Letter_Number", "Nl"},
        {"Other_Number", "No"},
        {"Symbol", "S"},
        {"Math_Symbol", "Sm"},
        {"Currency_Symbol", "Sc"},
        {"Modifier_Symbol", "Sk"},
        {"Other_Symbol", "So"},
        {"Punctuation", "P"},
        {"Connector_Punctuation", "Pc"},
        {"Dash_Punctuation", "Pd"},
        {"Open_Punctuation", "Ps"},
        {"Close_Punctuation", "Pe"},
        {"Initial_Punctuation", "Pi"},
        {"Final_Punctuation", "Pf"},
        {"Other_Punctuation", "Po"},
        {"Separator", "Z"},
        {"Space_Separator", "Zs"},
        {"Line_Separator", "Zl"},
        {"Paragraph_Separator", "Zp"},
        {"Other", "C"},
        {"Control", "Cc"},
        {"Format", "Cf"},
        {"Surrogate", "Cs"},
        {"Private_Use", "Co"},
        {"Unassigned", "Cn"},
        {"Alphabetic", "Alphabetic"},
        {"White_Space", "White_Space"},
    }};
    for (const auto& [known, name] : kNames) {
      if (property == known) {
        return std::string(name);
      }
    }
    return (property.size() <= 2 ? "" : "sc:") + std::string(property);
  }

  /// Throws Error where a caseless group has letters that Oniguruma also finds as a ligature ("ss"
  /// as the sharp s), which PCRE2 does not.
  void check_folds(std::string_view inside) {
    std::size_t end = 0;
    for (int depth = 1; end < inside.size() && depth > 0; ++end) {
      depth += inside[end] == '(' ? 1 : inside[end] == ')' ? -1 : 0;
    }
    std::string letters(inside.substr(0, end));
    std::transform(letters.begin(), letters.end(), letters.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    for (const auto* pair : {"ss", "st", "ff", "fi", "fl"}) {
      if (letters.find(pair) != std::string::npos) {
        fail("regular expression: \"", pair,
             "\" without case is not supported: it also means a ligature");
      }
    }
  }

  void character_class() {
    take(rest_.starts_with("[^") ? 2 : 1);
    if (rest_.starts_with(']')) {
      refuse(1);  // PCRE2: the character "]"
    }
    while (!rest_.starts_with(']')) {
      if (rest_.empty()) {
        fail("regular expression: a \"[\" has no \"]\"");
      }
      if (rest_.starts_with("&&")) {
        refuse(2);  // Oniguruma: an intersection
      }
      if (rest_[0] == '[') {
        refuse(1);  // Oniguruma: a class within the class
      }
      if (rest_[0] == '\\') {
        escape();
      } else {
        take(1);
      }
    }
    take(1);
  }

  void group() {
    ++depth_;
    if (!rest_.starts_with("(?") && !rest_.starts_with("(*")) {
      return take(1);
    }
    if (rest_.starts_with("(?i:")) {
      check_folds(rest_.substr(4));
      caseless_depth_ = std::min(caseless_depth_, depth_);
      return take(4);
    }
    for (const std::string_view kind : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"}) {
      if (rest_.starts_with(kind)) {
        return take(kind.size());
      }
    }
    refuse(3);
  }

  /// {2}, {2,} and {2,3}; a "+" or "?" behind them means different things.
  void repetition() {
    const auto close = rest_.find('}');
    const auto inside = rest_.substr(1, close == std::string_view::npos ? 0 : close - 1);
    const auto comma = std::min(inside.find(','), inside.size());
    const auto digits = [](std::string_view s) {
      return std::all_of(s.begin(), s.end(), is_digit);
    };
    const auto next = rest_.substr(std::min(close, rest_.size() - 1)).substr(1, 1);
    if (comma == 0 || !digits(inside.substr(0, comma)) ||
        !digits(inside.substr(std::min(comma + 1, inside.size()))) || next == "+" || next == "?") {
      refuse(close == std::string_view::npos ? 1 : close + 1 + (next == "+" || next == "?"));
    }
    take(close + 1);
  }

  std::string_view rest_;
  std::string translated_;
  int depth_ = 0;
  int caseless_depth_ = kNone;  ///< depth of the outermost open (?i: group
};

}  // namespace

std::string from_oniguruma(std::string_view pattern) { return Translation(pattern).run(); }

MatchSpace::MatchSpace() : data_(pcre2_match_data_create(1, nullptr)) {
  if (data_ == nullptr) {
    throw std::bad_alloc();
  }
}

Pattern::Pattern(std::string_view pattern) {
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> compiling(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  context_.reset(pcre2_match_context_create(nullptr));
  if (compiling == nullptr || context_ == nullptr) {
    throw std::bad_alloc();
  }
  pcre2_set_newline(compiling.get(), PCRE2_NEWLINE_LF);  // as Oniguruma, with PCRE2_MULTILINE
  int error = 0;
  PCRE2_SIZE offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                            PCRE2_UTF | PCRE2_UCP | PCRE2_NO_UTF_CHECK | PCRE2_MULTILINE, &error,
                            &offset, compiling.get()));
  require(code_ != nullptr, "regular expression \"", pattern, "\": at byte ", offset, ": ",
          message_of(error));
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // where there is no JIT, it interprets
  // A run of spaces costs a step for each, however long the text is.
  pcre2_set_match_limit(context_.get(), std::numeric_limits<std::uint32_t>::max());
}

Pattern Pattern::literal(std::string_view text) {
  if (text.empty()) {
    return Pattern("");
  }
  Pattern pattern;
  pattern.text_ = text;
  return pattern;
}

std::optional<Pattern::Match> Pattern::find(std::string_view text, std::size_t from,
                                            MatchSpace& space) const {
  if (!text_.empty()) {
    const auto found = text.find(text_, from);
    return found == std::string_view::npos ? std::nullopt
                                           : std::optional(Match{found, found + text_.size()});
  }
  const auto search = [&](std::uint32_t options) {
    return pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                       PCRE2_NO_UTF_CHECK | options, space.data_.get(), context_.get());
  };
  int found = search(0);
  if (found == PCRE2_ERROR_JIT_STACKLIMIT) {
    found = search(PCRE2_NO_JIT);  // slower, on the heap
  }
  if (found == PCRE2_ERROR_NOMATCH) {
    return std::nullopt;
  }
  // 0: more groups than the one pair that is asked for.
  require(found >= 0, "regular expression: searching ", text.size(), " bytes from byte ", from,
          ": ", message_of(found));
  const auto* pair = pcre2_get_ovector_pointer(space.data_.get());
  return Match{pair[0], pair[1]};
}

std::optional<Pattern::Match> Matches::next() {
  while (from_ <= text_.size()) {
    const auto match = pattern_.find(text_, from_, space_);
    if (!match) {
      from_ = text_.size() + 1;
      break;
    }
    if (match->begin != match->end || match->end != last_end_) {
      from_ = match->end;
      last_end_ = match->end;
      return match;
    }
    from_ += from_ == text_.size() ? 1 : first_character(text_.substr(from_)).size();
  }
  return std::nullopt;
}

Pattern pattern_of(const Field& field) {
  const auto text = field.find("String");
  const auto regex = text ? text : field.find("Regex");
  field.require(regex.has_value(), "must have \"String\" or \"Regex\"");
  if (text) {
    return Pattern::literal(text->string());
  }
  try {
    return Pattern(from_oniguruma(regex->string()));
  } catch (const Error& error) {
    regex->fail(error.what());
  }
}

}  // namespace motet::text
