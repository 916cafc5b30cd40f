// record, ruler, helmet and kvpress: items that others made, read as they are.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/tasks/shipped.h"
#include "motet/files/json.h"

namespace motet {
namespace {

using nlohmann::json;

std::string text_of(const json& line, const char* name, const std::string& where) {
  require(line.is_object() && line.contains(name) && line[name].is_string(), where, ": '", name,
          "' is a text that is wanted");
  return line[name];
}

/// A text, or a list of them.
std::vector<std::string> texts_of(const json& line, const char* name, const std::string& where) {
  require(line.is_object() && line.contains(name), where, ": has no '", name, "'");
  std::vector<std::string> texts;
  for (const auto& one : line[name].is_array() ? line[name] : json::array({line[name]})) {
    require(one.is_string() || one.is_number(), where, ": '", name,
            "' is a text or a list of them");
    texts.push_back(one.is_string() ? one.get<std::string>() : one.dump());
  }
  require(!texts.empty(), where, ": '", name, "' is empty");
  return texts;
}

/// Units of a context: lines where it has several, else sentences.
std::vector<std::string> units_of(const std::string& context) {
  std::vector<std::string> lines;
  for (std::size_t first = 0; first < context.size();) {
    auto last = std::min(context.find('\n', first), context.size());
    while (last < context.size() && context[last] == '\n') {
      ++last;  // blank lines stay with what is before them
    }
    lines.push_back(context.substr(first, last - first));
    first = last;
  }
  return lines.size() > 2 ? lines : sentences_of(context);
}

/// Units that hold one of the answers.
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

MadeTask make_record(const TaskText& text, const TaskSettings&, const Tokenizer&) {
  const auto file = text.file();
  text.no_more();
  auto read = read_records(file);
  MadeTask made{std::move(read.records), "record", {file}, {}};
  if (!read.other_fields.empty()) {
    std::string fields;
    for (const auto& field : read.other_fields) {
      fields += (fields.empty() ? "" : ", ") + field;
    }
    made.notes.push_back(file.string() + ": fields that no record has are not read: " + fields);
  }
  return made;
}

/// What RULER's tasks give an answer, tokens, and how they score it.
struct RulerTask {
  const char* name;
  int64_t tokens;
  AnswerRule rule;
};
constexpr RulerTask kRulerTasks[]{{"niah", 128, AnswerRule::kFound},
                                  {"vt", 30, AnswerRule::kFound},
                                  {"cwe", 120, AnswerRule::kFound},
                                  {"fwe", 50, AnswerRule::kFound},
                                  {"qa", 32, AnswerRule::kAny}};

const RulerTask& ruler_kind(const TaskText& text) {
  std::vector<std::string> names;
  for (const auto& one : kRulerTasks) {
    names.emplace_back(one.name);
  }
  const auto name = text.one_of("kind", names);
  return *std::find_if(std::begin(kRulerTasks), std::end(kRulerTasks),
                       [&](const RulerTask& one) { return one.name == name; });
}

MadeTask make_ruler(const TaskText& text, const TaskSettings& settings, const Tokenizer&) {
  const auto file = text.file();
  const auto& kind = ruler_kind(text);
  const auto tokens = text.number("tokens", kind.tokens);
  text.no_more();
  MadeTask made{{}, "ruler", {file}, {}};
  for_each_json_line(file, [&](const json& line, const std::string& where) {
    if (static_cast<int64_t>(made.records.size()) == settings.items) {
      return;
    }
    TaskRecord record;
    record.task = text.label();
    record.group = kind.rule == AnswerRule::kAny ? "rag" : "recall";
    record.id = std::to_string(made.records.size());  // `index` is an offset in niah's
    const auto input = text_of(line, "input", where);
    // The question is the last line; the first one says what to do.
    auto last = input.find_last_not_of('\n');
    last = last == std::string::npos ? last : input.rfind('\n', last);
    const auto first = input.find('\n');
    require(last != std::string::npos && first < last, where,
            ": 'input' has no line for a task, a context and a question");
    record.lead = input.substr(0, first + 1);
    record.units = units_of(input.substr(first + 1, last - first));
    record.query = input.substr(last + 1);
    if (line.contains("answer_prefix")) {
      record.query += text_of(line, "answer_prefix", where);
    }
    record.answers = texts_of(line, "outputs", where);
    record.gold = record.answers[0];
    record.gold_units = units_with(record.units, record.answers);
    record.tokens = tokens;
    record.rule = kind.rule;
    record.validate();
    made.records.push_back(std::move(record));
  });
  return made;
}

MadeTask make_helmet(const TaskText& text, const TaskSettings& settings, const Tokenizer&) {
  const auto file = text.file();
  const auto tokens = text.number("tokens", 0);
  text.no_more();
  MadeTask made{{}, settings.layout, {file}, {}};
  for_each_json_line(file, [&](const json& line, const std::string& where) {
    if (static_cast<int64_t>(made.records.size()) == settings.items) {
      return;
    }
    TaskRecord record;
    record.task = text.label();
    record.group = "recall";
    record.id = std::to_string(made.records.size());
    const bool is_kv = line.contains("num_kvs");
    const auto context = text_of(line, "context", where);
    record.answers = texts_of(line, "answer", where);
    record.gold = record.answers[0];
    if (is_kv) {  // a first line, then JSON: its pairs are the units
      for (const auto& one : units_of(context)) {
        if (one.find("\": \"") != std::string::npos) {
          record.units.push_back(one);
        }
      }
      const std::string task = "Give the value that goes with a key of the JSON object";
      const auto key = text_of(line, "question", where);
      record.lead = settings.layout == "helmet" ? task + " below.\n\n{\n" : "";
      record.query = "}\n\n" + (settings.layout == "helmet" ? "" : task + " above.\n\n") +
                     "Key: " + key + "\nValue that goes with it:";
      record.rule = AnswerRule::kSubstring;
      record.parse_line = true;
      record.tokens = tokens > 0 ? tokens : 100;
    } else {
      record.units = sentences_of(context);
      const auto what = text_of(line, "query", where);
      const auto several = record.answers.size() > 1;
      record.query = std::string("\n\n") + "The special magic " + (several ? "numbers" : "number") +
                     " for " + what + " in the text above " + (several ? "are" : "is");
      record.rule = AnswerRule::kFound;
      record.tokens = tokens > 0 ? tokens : several ? 100 : 50;
    }
    record.gold_units = units_with(record.units, record.answers);
    record.validate();
    made.records.push_back(std::move(record));
  });
  return made;
}

MadeTask make_kvpress(const TaskText& text, const TaskSettings& settings, const Tokenizer&) {
  const auto file = text.file();
  const auto rule =
      answer_rule_named(text.one_of("score", {"found", "any", "substring", "exact", "f1"}));
  text.no_more();
  MadeTask made{{}, "kvpress", {file}, {}};
  for_each_json_line(file, [&](const json& line, const std::string& where) {
    if (static_cast<int64_t>(made.records.size()) == settings.items) {
      return;
    }
    TaskRecord record;
    record.task =
        line.is_object() && line.contains("task") ? text_of(line, "task", where) : text.label();
    record.id = std::to_string(made.records.size());
    record.units = units_of(text_of(line, "context", where));
    record.query = text_of(line, "question", where) + text_of(line, "answer_prefix", where);
    record.answers = texts_of(line, "answer", where);
    record.gold = record.answers[0];
    record.gold_units = units_with(record.units, record.answers);
    if (line.contains("max_new_tokens") && line["max_new_tokens"].is_number_integer()) {
      record.tokens = line["max_new_tokens"];
    }
    record.rule = rule;
    record.validate();
    made.records.push_back(std::move(record));
  });
  return made;
}

}  // namespace

TaskKind record_task() { return {"record", "record:FILE", make_record}; }
TaskKind ruler_task() {
  return {"ruler", "ruler:FILE[:kind=niah|vt|cwe|fwe|qa][:tokens=N]", make_ruler};
}
TaskKind helmet_task() { return {"helmet", "helmet:FILE[:tokens=N]", make_helmet}; }
TaskKind kvpress_task() {
  return {"kvpress", "kvpress:FILE[:score=found|any|substring|exact|f1]", make_kvpress};
}

}  // namespace motet
