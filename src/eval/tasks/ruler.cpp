// ruler: items of RULER (Hsieh et al. 2024, arXiv 2404.06654), read as they are.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/tasks/lines.h"
#include "eval/tasks/shipped.h"
#include "motet/files/json.h"

namespace motet {
namespace {

/// Where the question starts in a prompt: with its last line, or in qa with the line that says once
/// more what to do. npos where there is a single line.
std::size_t question_in(const RulerKind& kind, const std::string& input) {
  const auto first = input.find_first_not_of('\n'), last = input.find_last_not_of('\n');
  if (first == std::string::npos) {
    return first;
  }
  auto start = input.rfind('\n', last);
  if (kind.name == "qa") {
    const auto again = input.rfind(input.substr(first, input.find('\n', first) - first));
    if (again > first && input[again - 1] == '\n') {
      return again;
    }
  }
  return start == std::string::npos || start < first ? std::string::npos : start + 1;
}

MadeTask make_ruler(const TaskText& text, const TaskSettings& settings, const Tokenizer&) {
  const auto file = text.file();
  std::vector<std::string> names;
  for (const auto& one : ruler_kinds()) {
    names.emplace_back(one.name);
  }
  const auto* called = ruler_kind_of(text.short_name());
  const auto& kind = *ruler_kind_of(
      text.one_of("kind", names, called == nullptr ? "niah" : std::string(called->name)));
  const auto tokens = text.number("tokens", kind.tokens);
  text.no_more();
  MadeTask made{{}, "ruler", {file}, {}};
  int64_t number = 0;
  for_each_json_line(file, [&](const nlohmann::json& line, const std::string& where) {
    if (number++ >= settings.items) {
      ++made.left_out;
      return;
    }
    TaskRecord record;
    record.task = text.label();
    record.group = kind.group;
    record.id = std::to_string(number - 1);  // `index` is an offset in niah's
    const auto input = text_of(line, "input", where);
    const auto question = question_in(kind, input);
    const auto before = question == std::string::npos ? "" : input.substr(0, question);
    const auto lead = lead_bytes(kind, before);
    require(lead > 0, where, ": 'input' is no prompt of RULER's ", kind.name,
            ": what to do, a context and a question, of which the last begins a line, are wanted; "
            "kind=niah, vt, cwe, fwe or qa says what is asked");
    record.lead = input.substr(0, lead);
    record.units = units_of(kind, before.substr(lead));
    record.query = input.substr(question);
    if (line.contains("answer_prefix")) {
      record.query += text_of(line, "answer_prefix", where);
    }
    record.answers = texts_of(line, "outputs", where);
    record.tokens = tokens;
    record.rule = kind.rule;
    add_record(made, std::move(record), where, {"input", "input", "outputs"});
  });
  return made;
}

}  // namespace

TaskKind ruler_task() {
  return {"ruler", "ruler:FILE[:kind=niah|vt|cwe|fwe|qa][:tokens=N]", make_ruler};
}

}  // namespace motet
