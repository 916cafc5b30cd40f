// kvpress: items of kvpress' files (github.com/NVIDIA/kvpress), RULER's among them, read as they
// are.

#include <map>
#include <nlohmann/json.hpp>

#include "eval/tasks/lines.h"
#include "eval/tasks/shipped.h"
#include "motet/files/json.h"

namespace motet {
namespace {

MadeTask make_kvpress(const TaskText& text, const TaskSettings& settings, const Tokenizer&) {
  const auto file = text.file();
  const auto score = text.one_of("score", {"found", "any", "substring", "exact", "f1"}, "");
  text.no_more();
  MadeTask made{{}, "kvpress", {file}, {}};
  std::map<std::string, int64_t> counts;  // of each task
  int64_t number = 0;
  for_each_json_line(file, [&](const nlohmann::json& line, const std::string& where) {
    const auto id = number++;
    TaskRecord record;
    const bool named = line.is_object() && line.contains("task");
    record.task = named ? text_of(line, "task", where) : text.label();
    if (++counts[record.task] > settings.items) {
      ++made.left_out;
      return;
    }
    record.id = std::to_string(id);
    const auto context = text_of(line, "context", where);
    const auto* kind = ruler_kind_of(named ? record.task : text.short_name());
    if (kind != nullptr) {
      const auto lead = lead_bytes(*kind, context);
      record.group = kind->group;
      record.lead = context.substr(0, lead);
      record.units = units_of(*kind, context.substr(lead));
    } else {
      record.units = lines_or_sentences(context);
    }
    record.query = text_of(line, "question", where) + text_of(line, "answer_prefix", where);
    record.answers = texts_of(line, "answer", where);
    if (line.contains("max_new_tokens")) {
      const auto& tokens = line["max_new_tokens"];
      require(tokens.is_number_integer(), where, ": 'max_new_tokens' is ", tokens.dump(),
              "; a whole number is wanted");
      record.tokens = tokens;
    }
    record.rule = !score.empty()    ? answer_rule_named(score)
                  : kind != nullptr ? kind->rule
                                    : AnswerRule::kFound;
    add_record(made, std::move(record), where, {"context", "question", "answer", "max_new_tokens"});
  });
  return made;
}

}  // namespace

TaskKind kvpress_task() {
  return {"kvpress", "kvpress:FILE[:score=found|any|substring|exact|f1]", make_kvpress};
}

}  // namespace motet
