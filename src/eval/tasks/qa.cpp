// qa: questions over passages, of which one or a few hold the answer. PCE, arXiv 2412.16545,
// section 3; "Lost in the Middle" (Liu et al. 2023, arXiv 2307.03172); after HELMET, in sentences
// of our own.

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/tasks/shipped.h"
#include "motet/files/json.h"

namespace motet {
namespace {

struct Question {
  std::string id, text;
  std::vector<std::string> answers;
  std::vector<std::string> passages;
  std::vector<int64_t> gold;  // passages that hold the answer
};

std::string passage_of(const nlohmann::json& one, const std::string& where) {
  require(one.is_object() && one.contains("text") && one["text"].is_string(), where,
          ": a passage is an object with a text 'text'");
  const auto title = one.contains("title") && one["title"].is_string()
                         ? one["title"].get<std::string>()
                         : std::string();
  return "Document" + (title.empty() ? "" : " (Title: " + title + ")") + ": " +
         one["text"].get<std::string>() + "\n\n";
}

/// HELMET's kilt files have `ctxs`, those of others `documents` and `gold`.
Question question_of(const nlohmann::json& line, const std::string& where, std::size_t number) {
  require(line.is_object() && line.contains("question") && line["question"].is_string() &&
              line.contains("answers") && line["answers"].is_array(),
          where, ": a line has 'question', a text, and 'answers', a list of texts");
  Question question;
  question.text = line["question"];
  question.id = line.contains("id")
                    ? (line["id"].is_string() ? line["id"].get<std::string>() : line["id"].dump())
                    : std::to_string(number);
  for (const auto& answer : line["answers"]) {
    require(answer.is_string(), where, ": 'answers' is a list of texts");
    question.answers.push_back(answer);
  }
  const auto* field = line.contains("ctxs") ? "ctxs" : "documents";
  require(line.contains(field) && line[field].is_array(), where,
          ": has neither 'ctxs' nor 'documents', a list of passages");
  for (std::size_t i = 0; i < line[field].size(); ++i) {
    const auto& one = line[field][i];
    question.passages.push_back(passage_of(one, where));
    for (const auto* name : {"has_answer", "hasanswer"}) {
      if (one.contains(name) && one[name].is_boolean() && one[name].get<bool>()) {
        question.gold.push_back(static_cast<int64_t>(i));
      }
    }
  }
  if (line.contains("gold") && line["gold"].is_array()) {
    for (const auto& gold : line["gold"]) {
      require(gold.is_number_integer() && gold.get<int64_t>() >= 0 &&
                  gold.get<std::size_t>() < question.passages.size(),
              where, ": 'gold' has ", gold.dump(), "; there are passages 0 to ",
              static_cast<int64_t>(question.passages.size()) - 1);
      question.gold.push_back(gold);
    }
  }
  return question;
}

/// So many passages, the gold ones among them: the first of those where `place` says.
TaskRecord qa_record(const TaskText& text, const TaskSettings& settings, const Question& question,
                     int64_t item, int64_t passages, const std::string& place,
                     const std::string& demonstrations) {
  ItemRandom random(settings.seed, text.label(), item);
  TaskRecord record;
  record.task = text.label();
  record.group = "rag";
  record.id = question.id;
  const auto is_gold = [&](int64_t i) {
    return std::find(question.gold.begin(), question.gold.end(), i) != question.gold.end();
  };
  std::vector<std::pair<std::string, bool>> chosen;
  if (place == "file") {  // as the file has them
    for (int64_t i = 0; i < passages; ++i) {
      chosen.emplace_back(question.passages[i], is_gold(i));
    }
  } else {
    const auto most = std::min(passages, static_cast<int64_t>(question.gold.size()));
    for (int64_t i = 0; static_cast<int64_t>(chosen.size()) < passages - most; ++i) {
      if (!is_gold(i)) {
        chosen.emplace_back(question.passages[i], false);
      }
    }
    for (int64_t i = 0; i < most; ++i) {
      const auto there = static_cast<int64_t>(chosen.size());
      const auto at = i > 0 || place == "random" ? random.below(there + 1)
                      : place == "first"         ? 0
                      : place == "middle"        ? there / 2
                                                 : there;
      chosen.emplace(chosen.begin() + at, question.passages[question.gold[i]], true);
    }
  }
  for (const auto& [passage, gold] : chosen) {
    if (gold) {
      record.gold_units.push_back(static_cast<int64_t>(record.units.size()));
    }
    record.units.push_back(passage);
  }
  if (!record.gold_units.empty()) {
    record.depth = static_cast<double>(record.gold_units[0]) /
                   static_cast<double>(std::max<std::size_t>(1, record.units.size() - 1));
  }
  const auto task = std::string("Answer the question briefly, from the documents ") +
                    (settings.layout == "helmet" ? "below" : "above") +
                    ", in this form:\nAnswer: [answer]\n\n";
  record.lead = settings.layout == "helmet" ? task : "";
  record.query = (settings.layout == "helmet" ? demonstrations : task) +
                 "Question: " + question.text + "\nAnswer:";
  record.answers = question.answers;
  record.gold = question.answers[0];
  record.tokens = 20;
  record.rule = AnswerRule::kSubstring;
  record.parse_line = true;
  record.stop = {"\n"};
  return record;
}

MadeTask make_qa(const TaskText& text, const TaskSettings& settings, const Tokenizer& tokenizer) {
  const auto file = text.file();
  const auto wanted = text.number("passages", 0);
  const auto place = text.one_of("gold", {"random", "first", "middle", "last", "file"});
  text.no_more();
  MadeTask made{{}, settings.layout, {file}, {}};
  std::vector<Question> questions;
  int64_t unanswered = 0, few = 0;
  std::size_t number = 0;
  for_each_json_line(file, [&](const nlohmann::json& line, const std::string& where) {
    auto question = question_of(line, where, number++);
    const auto there = static_cast<int64_t>(question.passages.size());
    if (question.answers.empty()) {
      ++unanswered;
    } else if (there < std::max<int64_t>(1, wanted)) {
      ++few;
    } else {
      questions.push_back(std::move(question));
    }
  });
  const auto note = [&](int64_t count, const std::string& why) {
    if (count > 0) {
      made.notes.push_back(file.string() + ": " + std::to_string(count) + " questions " + why +
                           " are left out");
    }
  };
  note(unanswered, "without an answer");
  note(few, wanted > 0 ? "with fewer than " + std::to_string(wanted) + " passages"
                       : "without a passage");
  if (questions.empty()) {
    text.fail(file.string() + " has no question that can be asked");
  }
  ItemRandom random(settings.seed, text.label(), -1);
  random.shuffle(questions);
  std::string demonstrations;  // of HELMET's layout: two questions that no item asks
  if (settings.layout == "helmet") {
    require(questions.size() > 2, file.string(),
            ": two questions are demonstrations of the layout helmet, and no more are there");
    for (int i = 0; i < 2; ++i) {
      demonstrations += "Question: " + questions.back().text +
                        "\nAnswer: " + questions.back().answers[0] + "\n\n";
      questions.pop_back();
    }
  }
  int64_t too_long = 0;
  for (std::size_t i = 0;
       i < questions.size() && static_cast<int64_t>(made.records.size()) < settings.items; ++i) {
    const auto& question = questions[i];
    const auto record = [&](int64_t passages) {
      return qa_record(text, settings, question, static_cast<int64_t>(i), passages, place,
                       demonstrations);
    };
    auto passages = wanted > 0 ? wanted : static_cast<int64_t>(question.passages.size());
    while (passages > 1 && tokens_of(record(passages), tokenizer) > settings.length) {
      --passages;  // the last ones of the file go first
    }
    if ((wanted > 0 && passages < wanted) ||
        tokens_of(record(passages), tokenizer) > settings.length) {
      ++too_long;
      continue;
    }
    made.records.push_back(record(passages));
  }
  note(too_long, "that are longer than " + std::to_string(settings.length) + " tokens");
  return made;
}

}  // namespace

TaskKind qa_task() {
  return {"qa", "qa:FILE[:passages=N][:gold=random|first|middle|last|file]", make_qa};
}

}  // namespace motet
