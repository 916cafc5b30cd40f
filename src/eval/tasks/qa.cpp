// qa: questions over passages, of which one or a few hold the answer. PCE, arXiv 2412.16545,
// section 3; "Lost in the Middle" (Liu et al. 2023, arXiv 2307.03172); after HELMET, in sentences
// of our own.

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "eval/tasks/shipped.h"
#include "motet/files/json.h"

namespace motet {
namespace {

struct Question {
  std::string id, text;
  std::vector<std::string> answers;
  int64_t unscorable = 0;  // references that are left out
  std::vector<std::string> passages;
  std::vector<int64_t> gold;  // passages that hold the answer, each once
  bool kilt = false;          // read as it is, unless `gold=` says otherwise

  bool is_gold(int64_t passage) const {
    return std::find(gold.begin(), gold.end(), passage) != gold.end();
  }
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

/// What passages say of themselves, and what the line says of them.
std::vector<int64_t> gold_of(const nlohmann::json& line, const nlohmann::json& passages,
                             const std::string& where) {
  std::vector<int64_t> all;
  const auto add = [&](int64_t passage) {
    if (std::find(all.begin(), all.end(), passage) == all.end()) {
      all.push_back(passage);
    }
  };
  const auto there = static_cast<int64_t>(passages.size());
  for (int64_t i = 0; i < there; ++i) {
    for (const auto* name : {"has_answer", "hasanswer"}) {
      const auto said = passages[i].find(name);
      if (said == passages[i].end() || said->is_null()) {
        continue;
      }
      require(said->is_boolean(), where, ": '", name, "' is ", said->dump(),
              "; true or false is wanted");
      if (said->get<bool>()) {
        add(i);
      }
    }
  }
  if (!line.contains("gold") || line["gold"].is_null()) {
    return all;
  }
  const auto& gold = line["gold"];
  const auto list = gold.is_array() ? gold : nlohmann::json::array({gold});
  for (const auto& one : list) {
    require(one.is_number_integer(), where, ": 'gold' is ", gold.dump(),
            "; a passage is wanted, counted from 0, or a list of them");
    require(one >= 0 && one < there, where, ": 'gold' has ", one.dump(),
            "; there are passages 0 to ", there - 1);
    add(one);
  }
  return all;
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
    if (normalized_answer(answer.get<std::string>()).empty()) {
      ++question.unscorable;  // every output would hold it
    } else {
      question.answers.push_back(answer);
    }
  }
  question.kilt = line.contains("ctxs");
  const auto* field = question.kilt ? "ctxs" : "documents";
  require(line.contains(field) && line[field].is_array(), where,
          ": has neither 'ctxs' nor 'documents', a list of passages");
  for (const auto& one : line[field]) {
    question.passages.push_back(passage_of(one, where));
  }
  question.gold = gold_of(line, line[field], where);
  return question;
}

/// So many passages in the order of the prompt, by their numbers, gold ones before others: as the
/// file has them, or the first gold one where `place` says, and further ones anywhere.
std::vector<int64_t> choose(const Question& question, int64_t passages, const std::string& place,
                            ItemRandom& random) {
  auto gold = question.gold;
  gold.resize(std::min(gold.size(), static_cast<std::size_t>(passages)));
  std::vector<int64_t> chosen;
  for (int64_t i = 0; static_cast<int64_t>(chosen.size() + gold.size()) < passages; ++i) {
    if (!question.is_gold(i)) {
      chosen.push_back(i);
    }
  }
  if (place == "file") {
    chosen.insert(chosen.end(), gold.begin(), gold.end());
    std::sort(chosen.begin(), chosen.end());
    return chosen;
  }
  if (place != "random" && !gold.empty()) {  // last, so that none moves it
    std::rotate(gold.begin(), gold.begin() + 1, gold.end());
  }
  for (std::size_t i = 0; i < gold.size(); ++i) {
    const auto there = static_cast<int64_t>(chosen.size());
    const auto at = place == "random" || i + 1 < gold.size() ? random.below(there + 1)
                    : place == "first"                       ? 0
                    : place == "middle"                      ? there / 2
                                                             : there;
    chosen.insert(chosen.begin() + at, gold[i]);
  }
  return chosen;
}

TaskRecord qa_record(const TaskText& text, const TaskSettings& settings, const Question& question,
                     int64_t item, int64_t passages, const std::string& place,
                     const std::string& demonstrations) {
  ItemRandom random(settings.seed, text.label(), item);
  TaskRecord record;
  record.task = text.label();
  record.group = "rag";
  record.id = question.id;
  const auto chosen = choose(question, passages, place, random);
  for (std::size_t unit = 0; unit < chosen.size(); ++unit) {
    record.units.push_back(question.passages[chosen[unit]]);
    if (question.is_gold(chosen[unit])) {
      record.gold_units.push_back(static_cast<int64_t>(unit));
    }
    if (!question.gold.empty() && chosen[unit] == question.gold[0]) {
      record.depth = static_cast<double>(unit) /
                     static_cast<double>(std::max<std::size_t>(1, chosen.size() - 1));
    }
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
  const bool told = !text.word("gold", "").empty();
  text.no_more();
  MadeTask made{{}, settings.layout, {file}, {}};
  std::vector<Question> questions;
  std::set<std::string> ids;
  int64_t unscorable = 0, unanswered = 0, few = 0;
  std::size_t number = 0;
  for_each_json_line(file, [&](const nlohmann::json& line, const std::string& where) {
    auto question = question_of(line, where, number++);
    const auto there = static_cast<int64_t>(question.passages.size());
    unscorable += question.unscorable;
    if (question.answers.empty()) {
      ++unanswered;
    } else if (there < std::max<int64_t>(1, wanted)) {
      ++few;
    } else {
      const auto id = question.id;  // which HELMET gives to a question at several depths
      for (int64_t time = 2; !ids.insert(question.id).second; ++time) {
        question.id = id + "#" + std::to_string(time);
      }
      questions.push_back(std::move(question));
    }
  });
  const auto note = [&](int64_t count, const std::string& what) {
    if (count > 0) {
      made.notes.push_back(file.string() + ": " + std::to_string(count) + " " + what);
    }
  };
  note(unscorable,
       "references of nothing but articles and punctuation, which are not compared, are left out");
  note(unanswered, "questions without an answer are left out");
  note(few, wanted > 0
                ? "questions with fewer than " + std::to_string(wanted) + " passages are left out"
                : "questions without a passage are left out");
  if (questions.empty()) {
    text.fail(file.string() + " has no question that can be asked");
  }
  ItemRandom random(settings.seed, text.label(), -1);
  random.shuffle(questions);
  std::string demonstrations;  // of HELMET's layout: two questions that no item asks
  for (int shown = 0; settings.layout == "helmet" && shown < 2; ++shown) {
    const auto last = questions.back();
    demonstrations += "Question: " + last.text + "\nAnswer: " + last.answers[0] + "\n\n";
    std::erase_if(questions, [&](const Question& one) { return one.text == last.text; });
    require(!questions.empty(), file.string(),
            ": two questions are demonstrations of the layout helmet, and no more are there");
  }
  int64_t too_long = 0, shortened = 0, left_out = 0, without_gold = 0;
  for (std::size_t i = 0;
       i < questions.size() && static_cast<int64_t>(made.records.size()) < settings.items; ++i) {
    const auto& question = questions[i];
    const auto record = [&](int64_t passages) {
      return qa_record(text, settings, question, static_cast<int64_t>(i), passages,
                       !told && question.kilt ? "file" : place, demonstrations);
    };
    const auto fits = [&](int64_t passages) {
      return tokens_of(record(passages), tokenizer) <= settings.length;
    };
    const auto there = static_cast<int64_t>(question.passages.size());
    const auto gold = static_cast<int64_t>(question.gold.size());
    const auto least = wanted > 0 ? wanted : std::max<int64_t>(1, gold);
    if (!fits(least)) {
      ++too_long;
      continue;
    }
    // As many as fit: what goes is the last ones of the file that are not gold.
    auto passages = least, most = wanted > 0 ? wanted : there;
    while (passages < most) {
      const auto middle = (passages + most + 1) / 2;
      fits(middle) ? passages = middle : most = middle - 1;
    }
    if (wanted == 0 && passages < there) {
      ++shortened;
      left_out += there - passages;
    }
    without_gold += gold == 0 && place != "file" && place != "random" ? 1 : 0;
    made.records.push_back(record(passages));
  }
  const auto length = std::to_string(settings.length) + " tokens";
  note(too_long, "questions that are longer than " + length + " are left out");
  note(left_out, "passages of " + std::to_string(shortened) +
                     " questions, the last that are not gold, are left out to fit " + length);
  note(without_gold, "questions have no gold passage for gold=" + place);
  return made;
}

}  // namespace

TaskKind qa_task() {
  return {"qa", "qa:FILE[:passages=N][:gold=random|first|middle|last|file]", make_qa};
}

}  // namespace motet
