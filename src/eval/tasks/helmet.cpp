// helmet: items of HELMET's files (Yen et al. 2024, arXiv 2410.02694), asked for in sentences of
// our own.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/tasks/lines.h"
#include "eval/tasks/shipped.h"
#include "motet/files/json.h"

namespace motet {
namespace {

using nlohmann::json;

/// A line of a file, and how it is asked for.
struct HelmetLine {
  const json& line;
  const std::string& where;
  bool before;  // what to do is said before the context, not behind it

  std::string text(const char* name) const { return text_of(line, name, where); }
  std::string place() const { return before ? "below" : "above"; }
};

/// Lines of a JSON object; its braces are no units.
void ask_kv(TaskRecord& record, const HelmetLine& item) {
  for (const auto& one : lines_or_sentences(item.text("context"))) {
    if (one.find("\": \"") != std::string::npos) {
      record.units.push_back(one);
    }
  }
  const auto pair = [](const std::string& key) {
    return "Key: " + key + "\nValue that goes with it:";
  };
  const auto task =
      "Give the value that goes with a key of the JSON object " + item.place() + ".\n\n";
  record.query = "}\n\n";
  if (item.before) {
    record.lead = task + "{\n";
    const auto demos = item.line.value("demos", json());
    require(demos.is_array() && demos.size() >= 2, item.where,
            ": has no two 'demos', which the layout helmet shows");
    for (int i = 0; i < 2; ++i) {
      const auto& demo = demos[i];
      require(demo.is_array() && demo.size() == 2 && demo[0].is_string() && demo[1].is_string(),
              item.where, ": 'demos' is a list of pairs of a key and its value");
      record.query += pair(demo[0]) + " " + demo[1].get<std::string>() + "\n\n";
    }
  } else {
    record.query += task;
  }
  record.query += pair(item.text("question"));
  record.rule = AnswerRule::kSubstring;
  record.parse_line = true;
  record.tokens = 100;
}

void ask_niah(TaskRecord& record, const HelmetLine& item) {
  record.units = sentences_of(item.text("context"));
  const auto what = item.text("query");
  const bool several = record.answers.size() > 1;
  auto kind = item.line.contains("type_needle_v") ? item.text("type_needle_v") : "numbers";
  if (kind.ends_with('s')) {
    kind.pop_back();
  }
  const auto secret = "special magic " + kind + (several ? "s" : "");
  const auto asked = secret + " for " + what + " in the text above";
  const std::string is = several ? "are" : "is";
  if (item.before) {
    record.lead = (several ? "Some " : "A ") + secret + " " + is +
                  " hidden in the text below. Remember " + (several ? "them" : "it") +
                  ": you will be asked for " + (several ? "them" : "it") + ".\n";
    record.query = "\nWhat " + is + " the " + asked + "? The " + asked + " " + is;
  } else {
    record.query = "\n\nThe " + asked + " " + is;
  }
  // HELMET's: 100 where a key is a UUID, or where there are several, else 50.
  const bool is_uuid = what.size() == 36 && std::count(what.begin(), what.end(), '-') == 4;
  record.tokens = is_uuid || what.find(", ") != std::string::npos ? 100 : 50;
}

/// vt, cwe and fwe, whose example stands before everything where the file has one.
void ask_ruler(TaskRecord& record, const HelmetLine& item, const RulerKind& kind) {
  record.units = units_of(kind, item.text("context"));
  const auto count = std::to_string(record.answers.size());
  std::string task, question;
  if (kind.name == "vt") {
    task =
        "Variables get values in the text " + item.place() + ", some of them from other variables.";
    question =
        "Which variables have the value " + item.text("query") + "? There are " + count + ":";
  } else if (kind.name == "cwe") {
    task =
        "Some words of the numbered list " + item.place() + " stand in it more often than others.";
    question = "The " + count + " words that stand in it most often:";
  } else {
    task = "Some words of the coded text " + item.place() +
           " come more often than others. Dots are no words.";
    question = "The " + count + " words that come most often:";
  }
  if (item.before) {
    const auto example = item.line.contains("example") ? item.text("example") : "";
    record.lead = example + (example.empty() ? "" : "\n\n") + task + "\n\n";
    record.query = "\n" + question;
  } else {
    record.query = "\n" + task + "\n" + question;
  }
  record.tokens = kind.name == "cwe" ? 100 : 50;
}

void ask_qa(TaskRecord& record, const HelmetLine& item, const RulerKind& kind) {
  record.units = units_of(kind, item.text("context"));
  const auto task =
      "Answer the question from the documents " + item.place() + ", with the answer alone.\n\n";
  record.lead = item.before ? task : "";
  record.query = "\n\n" + (item.before ? "" : task) +
                 "Question: " + item.text(item.line.contains("query") ? "query" : "question") +
                 "\nAnswer:";
  record.rule = AnswerRule::kSubstring;  // HELMET's, where RULER has any
  record.parse_line = true;
  record.tokens = 50;
}

MadeTask make_helmet(const TaskText& text, const TaskSettings& settings, const Tokenizer&) {
  const auto file = text.file();
  const auto* called = ruler_kind_of(text.short_name());
  const auto told = text.one_of("kind", {"kv", "niah", "vt", "cwe", "fwe", "qa"},
                                called == nullptr ? "" : std::string(called->name));
  const auto tokens = text.number("tokens", 0);
  text.no_more();
  MadeTask made{{}, settings.layout, {file}, {}};
  int64_t number = 0;
  for_each_json_line(file, [&](const json& line, const std::string& where) {
    if (number++ >= settings.items) {
      ++made.left_out;
      return;
    }
    const HelmetLine item{line, where, settings.layout == "helmet"};
    TaskRecord record;
    record.task = text.label();
    record.id = std::to_string(number - 1);
    const bool by_answer = line.is_object() && line.contains("answer");
    record.answers = texts_of(line, by_answer ? "answer" : "outputs", where);
    record.rule = AnswerRule::kFound;
    const std::string kind = !told.empty()              ? told
                             : line.contains("num_kvs") ? "kv"
                             : line.contains("num_v")   ? "vt"
                                                        : "niah";
    require(kind != "niah" || line.contains("query"), where,
            ": has no 'query', which niah asks for; kind=kv, vt, cwe, fwe or qa says that it is "
            "another task");
    const auto* of_ruler = ruler_kind_of(kind);
    record.group = of_ruler == nullptr ? "recall" : of_ruler->group;
    if (kind == "kv") {
      ask_kv(record, item);
    } else if (kind == "niah") {
      ask_niah(record, item);
    } else if (kind == "qa") {
      ask_qa(record, item, *of_ruler);
    } else {
      ask_ruler(record, item, *of_ruler);
    }
    record.tokens = tokens > 0 ? tokens : record.tokens;
    add_record(made, std::move(record), where,
               {"context", kind == "kv" ? "question" : "query", by_answer ? "answer" : "outputs"});
  });
  return made;
}

}  // namespace

TaskKind helmet_task() {
  return {"helmet", "helmet:FILE[:kind=kv|niah|vt|cwe|fwe|qa][:tokens=N]", make_helmet};
}

}  // namespace motet
