#include "eval/tasks/lines.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "eval/tasks/shipped.h"

namespace motet {
namespace {

constexpr const char* kDigits = "0123456789";
constexpr const char* kSpace = " \n";

/// A text cut at some of its bytes; what is before the first of them is its first part.
std::vector<std::string> cut(const std::string& text, std::vector<std::size_t> starts) {
  starts.push_back(text.size());
  std::vector<std::string> parts;
  std::size_t first = 0;
  for (const auto start : starts) {
    if (start > first) {
      parts.push_back(text.substr(first, start - first));
      first = start;
    }
  }
  return parts;
}

/// Where lines start; empty ones are a part of the line before them.
std::vector<std::size_t> lines_in(const std::string& text) {
  std::vector<std::size_t> starts;
  const auto first = text.find_first_not_of('\n');
  for (auto end = text.find('\n', first); end != std::string::npos; end = text.find('\n', end)) {
    end = text.find_first_not_of('\n', end);
    if (end != std::string::npos) {
      starts.push_back(end);
    }
  }
  return starts;
}

/// Where the entries ` 2. word` of a list start, behind the first.
std::vector<std::size_t> entries_in(const std::string& list) {
  std::vector<std::size_t> starts;
  for (auto at = list.find_first_of(kSpace); at != std::string::npos;
       at = list.find_first_of(kSpace, at + 1)) {
    const auto end = list.find_first_not_of(kDigits, at + 1);
    if (end != std::string::npos && end > at + 1 && list.compare(end, 2, ". ") == 0) {
      starts.push_back(at);
    }
  }
  return starts;
}

/// Where words start, behind the first; what has dots alone is a part of the word before it.
std::vector<std::size_t> words_in(const std::string& text) {
  std::vector<std::size_t> starts;
  bool any = false;
  for (std::size_t at = 0; at < text.size();) {
    const auto first = text.find_first_not_of(kSpace, at);
    if (first == std::string::npos) {
      break;
    }
    const auto last = std::min(text.find_first_of(kSpace, first), text.size());
    if (text.find_first_not_of('.', first) < last) {
      if (any) {
        starts.push_back(at);  // with the space before it, as tokenizers have words
      }
      any = true;
    }
    at = last;
  }
  return starts;
}

/// Where lines `Document 1:`, `Document 2:` and so on start.
std::vector<std::size_t> documents_in(const std::string& text) {
  std::vector<std::size_t> starts;
  for (std::size_t from = 0;;) {
    const auto line = "Document " + std::to_string(starts.size() + 1) + ":";
    auto at = text.find(line, from);
    while (at != std::string::npos && at > 0 && text[at - 1] != '\n') {
      at = text.find(line, at + 1);
    }
    if (at == std::string::npos) {
      return starts;
    }
    starts.push_back(at);
    from = at + line.size();
  }
}

/// The end of the sentence before coded words: of the last full stop behind a letter that a space
/// follows. 0 where there is none.
std::size_t sentence_before_words(const std::string& text) {
  for (auto stop = text.rfind('.'); stop != std::string::npos && stop > 0;
       stop = text.rfind('.', stop - 1)) {
    if (text[stop - 1] != '.' && text[stop - 1] != ' ' && stop + 1 < text.size() &&
        (text[stop + 1] == ' ' || text[stop + 1] == '\n')) {
      return stop + 1;
    }
  }
  return 0;
}

}  // namespace

const std::vector<RulerKind>& ruler_kinds() {
  static const std::vector<RulerKind> kinds{{"niah", "recall", 128, AnswerRule::kFound},
                                            {"vt", "aggregation", 30, AnswerRule::kFound},
                                            {"cwe", "aggregation", 120, AnswerRule::kFound},
                                            {"fwe", "aggregation", 50, AnswerRule::kFound},
                                            {"qa", "rag", 32, AnswerRule::kAny}};
  return kinds;
}

const RulerKind* ruler_kind_of(std::string_view task) {
  if (task.starts_with("ruler_")) {
    task.remove_prefix(6);
  }
  const auto name = task.substr(0, task.find('_'));
  for (const auto& kind : ruler_kinds()) {
    if (kind.name == name) {
      return &kind;
    }
  }
  return nullptr;
}

std::size_t lead_bytes(const RulerKind& kind, const std::string& context) {
  if (kind.name == "fwe") {  // whose words stand in the line that says what to do
    return sentence_before_words(context);
  }
  if (kind.name == "qa") {
    const auto documents = documents_in(context);
    if (!documents.empty()) {
      return documents[0];
    }
  }
  const auto first = std::min(context.find_first_not_of('\n'), context.size());
  const auto end = std::min(context.find('\n', first), context.size());
  // The line that says what to do stands before the example, and once more behind it.
  const auto again = context.rfind("\n" + context.substr(first, end - first + 1));
  const auto last = again == std::string::npos ? end : again + 1 + end - first;
  const auto behind = context.find_first_not_of('\n', last);
  return behind == std::string::npos ? 0 : behind;
}

std::vector<std::string> units_of(const RulerKind& kind, const std::string& context) {
  if (kind.name == "cwe") {
    return cut(context, entries_in(context));
  }
  if (kind.name == "fwe") {
    return cut(context, words_in(context));
  }
  if (kind.name == "qa") {
    const auto documents = documents_in(context);
    if (!documents.empty()) {
      return cut(context, documents);
    }
  }
  return lines_or_sentences(context);
}

std::vector<std::string> lines_or_sentences(const std::string& context) {
  auto lines = cut(context, lines_in(context));
  return lines.size() > 2 ? lines : sentences_of(context);
}

std::vector<int64_t> units_with(const std::vector<std::string>& units,
                                const std::vector<std::string>& answers) {
  std::vector<int64_t> found;
  for (std::size_t i = 0; i < units.size(); ++i) {
    if (std::any_of(answers.begin(), answers.end(), [&](const std::string& answer) {
          return units[i].find(answer) != std::string::npos;
        })) {
      found.push_back(static_cast<int64_t>(i));
    }
  }
  return found;
}

std::string text_of(const nlohmann::json& line, const char* name, const std::string& where) {
  require(line.is_object() && line.contains(name) && line[name].is_string(), where,
          ": has no text '", name, "'");
  return line[name];
}

std::vector<std::string> texts_of(const nlohmann::json& line, const char* name,
                                  const std::string& where) {
  require(line.is_object() && line.contains(name), where, ": has no '", name, "'");
  std::vector<std::string> texts;
  for (const auto& one : line[name].is_array() ? line[name] : nlohmann::json::array({line[name]})) {
    require(one.is_string() || one.is_number(), where, ": '", name,
            "' is a text or a list of them");
    texts.push_back(one.is_string() ? one.get<std::string>() : one.dump());
  }
  require(!texts.empty(), where, ": '", name, "' is empty");
  return texts;
}

void add_record(MadeTask& made, TaskRecord record, const std::string& where,
                const FieldNames& names) {
  record.gold = record.answers[0];
  record.gold_units = units_with(record.units, record.answers);
  try {
    record.validate();
  } catch (const Error& error) {
    std::string what = error.what();
    for (const auto& [ours, theirs] : {std::pair{"units", names.units},
                                       {"query", names.query},
                                       {"answers", names.answers},
                                       {"tokens", names.tokens}}) {
      const auto quoted = "'" + std::string(ours) + "'";
      if (what.starts_with(quoted)) {
        what.replace(1, quoted.size() - 2, theirs);
        break;
      }
    }
    fail(where, ": ", what);
  }
  made.records.push_back(std::move(record));
}

}  // namespace motet
