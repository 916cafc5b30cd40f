// How outputs are scored.

#include <algorithm>
#include <map>

#include "motet/eval/record.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace motet {
namespace {

std::string_view stripped(std::string_view text) {
  text.remove_prefix(text::leading_space(text));
  text.remove_suffix(text::trailing_space(text));
  return text;
}

bool is_punctuation(char c) {
  return (c >= '!' && c <= '/') || (c >= ':' && c <= '@') || (c >= '[' && c <= '`') ||
         (c >= '{' && c <= '~');
}

std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  bool inside = false;
  while (!text.empty()) {
    const auto character = text::first_character(text);
    text.remove_prefix(character.size());
    if (text::leading_space(character) > 0) {
      inside = false;
      continue;
    }
    if (!inside) {
      words.emplace_back();
    }
    words.back() += character;
    inside = true;
  }
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) {
    text += (text.empty() ? "" : " ") + word;
  }
  return text;
}

/// As RULER looks at outputs: line ends in place of control characters, lower case.
std::string plain(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c >= 0 && c < ' '; }, '\n');
  return text::lower(stripped(text));
}

bool holds(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// F1 of the words of two normalised texts. Rajpurkar et al. 2016, arXiv 1606.05250, section 6.1.
double f1(const std::string& output, const std::string& reference) {
  const auto said = words_of(output), wanted = words_of(reference);
  std::map<std::string, int64_t> counts;
  for (const auto& word : wanted) {
    ++counts[word];
  }
  double same = 0;
  for (const auto& word : said) {
    if (counts[word]-- > 0) {
      ++same;
    }
  }
  if (same == 0) {
    return 0;
  }
  return 2 * same / static_cast<double>(said.size() + wanted.size());
}

}  // namespace

std::string normalized_answer(std::string_view text) {
  static const text::Pattern kArticle("\\b(a|an|the)\\b");
  auto lowered = text::lower(text);
  std::erase_if(lowered, is_punctuation);
  std::string without;
  text::MatchSpace space;
  text::Matches articles(kArticle, lowered, space);
  std::size_t from = 0;
  while (const auto match = articles.next()) {
    without += lowered.substr(from, match->begin - from) + " ";
    from = match->end;
  }
  return joined(words_of(without + lowered.substr(from)));
}

std::string parsed_answer(const TaskRecord& record, const std::string& output) {
  return record.parse_line
             ? std::string(stripped(std::string_view(output).substr(0, output.find('\n'))))
             : output;
}

double score_answer(const TaskRecord& record, const std::string& output) {
  const auto parsed = parsed_answer(record, output);
  double best = 0;
  const auto over_references = [&](const auto& score) {
    for (const auto& reference : record.answers) {
      best = std::max(best, static_cast<double>(score(reference)));
    }
    return best;
  };
  const auto normal = normalized_answer(parsed), whole = normalized_answer(output);
  switch (record.rule) {
    case AnswerRule::kExact:
      return over_references(
          [&](const std::string& wanted) { return normal == normalized_answer(wanted); });
    case AnswerRule::kSubstring:
      return over_references([&](const std::string& wanted) {
        const auto part = normalized_answer(wanted);
        return holds(normal, part) || holds(whole, part);
      });
    case AnswerRule::kF1:
      return over_references(
          [&](const std::string& wanted) { return f1(normal, normalized_answer(wanted)); });
    case AnswerRule::kAny:
    case AnswerRule::kFound: {
      const auto text = plain(parsed);
      const auto found = static_cast<double>(std::count_if(
          record.answers.begin(), record.answers.end(),
          [&](const std::string& wanted) { return holds(text, text::lower(wanted)); }));
      return record.rule == AnswerRule::kAny ? (found > 0 ? 1 : 0)
                                             : found / static_cast<double>(record.answers.size());
    }
  }
  return best;
}

}  // namespace motet
