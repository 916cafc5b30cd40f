// icl: demonstrations of labels, and a text to label. PCE, arXiv 2412.16545, section 3; after
// HELMET (Yen et al. 2024, arXiv 2410.02694), in sentences of our own.

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "eval/tasks/shipped.h"
#include "motet/files/json.h"

namespace motet {
namespace {

struct Example {
  std::string text, label;
};

/// Labels are texts or whole numbers.
std::vector<Example> read_examples(const std::filesystem::path& path, const std::string& field) {
  std::vector<Example> examples;
  for_each_json_line(path, [&](const nlohmann::json& line, const std::string& where) {
    const auto is_text = [&](const std::string& name) {
      return line[name].is_string() && !line[name].get<std::string>().empty();
    };
    for (const auto& name : {std::string("text"), field}) {
      require(line.is_object() && line.contains(name), where, ": has no '", name, "'");
    }
    require(is_text("text"), where, ": 'text' is no text, or an empty one");
    require(is_text(field) || line[field].is_number_integer(), where, ": '", field,
            "' is neither a text nor a whole number");
    examples.push_back(
        {line["text"], is_text(field) ? line[field].get<std::string>() : line[field].dump()});
  });
  return examples;
}

std::string demonstration(const std::string& text, int64_t label) {
  return text + "\nlabel: " + std::to_string(label) + "\n\n";
}

/// Demonstrations, the same for all items: `rounds[r]` has one of each label.
using Rounds = std::vector<std::vector<Example>>;

TaskRecord icl_record(const TaskText& text, const TaskSettings& settings, int64_t item,
                      const Example& test, const std::vector<std::string>& labels,
                      const Rounds& rounds) {
  ItemRandom random(settings.seed, text.label(), item);
  std::vector<int64_t> numbers;  // of each label, in this item
  std::map<std::string, int64_t> number_of;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    numbers.push_back(static_cast<int64_t>(i));
  }
  random.shuffle(numbers);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    number_of[labels[i]] = numbers[i];
  }
  TaskRecord record;
  record.task = text.label();
  record.group = "icl";
  record.id = std::to_string(item);
  for (auto round : rounds) {
    random.shuffle(round);
    for (const auto& one : round) {
      record.units.push_back(demonstration(one.text, number_of[one.label]));
    }
  }
  const std::string task =
      "Label the last text as the texts before it are labelled. Answer with the number alone.\n\n";
  record.lead = settings.layout == "helmet" ? task : "";
  record.query = (settings.layout == "helmet" ? "" : task) + test.text + "\nlabel:";
  record.answers = {std::to_string(number_of[test.label])};
  record.gold = record.answers[0];
  for (std::size_t i = 0; i < labels.size(); ++i) {
    record.candidates.push_back(std::to_string(i));
  }
  record.tokens = 20;
  record.rule = AnswerRule::kExact;
  record.parse_line = true;
  record.stop = {"\n"};
  return record;
}

MadeTask make_icl(const TaskText& text, const TaskSettings& settings, const Tokenizer& tokenizer) {
  const auto file = text.file();
  const std::filesystem::path demos = text.word("demos", file.string());
  const auto field = text.word("label", "label");
  const auto most = text.number("labels", 0, 2), shots = text.number("shots", 0);
  text.no_more();
  ItemRandom random(settings.seed, text.label(), -1);
  auto tests = read_examples(file, field);
  auto pool = tests;
  const bool same = demos == file;
  if (same) {  // of one file some lines are asked for, and the others show
    random.shuffle(tests);
    const auto half = static_cast<int64_t>(tests.size() / 2);
    pool.assign(tests.begin() + half, tests.end());
    tests.resize(half);
  } else {
    pool = read_examples(demos, field);
    random.shuffle(tests);
  }
  random.shuffle(pool);
  std::map<std::string, std::vector<Example>> by_label;
  for (const auto& one : pool) {
    by_label[one.label].push_back(one);
  }
  std::vector<std::string> labels;
  for (const auto& [label, unused] : by_label) {
    labels.push_back(label);
  }
  if (most > 0 && most < static_cast<int64_t>(labels.size())) {
    random.shuffle(labels);
    labels.resize(most);
  }
  if (labels.size() < 2) {
    text.fail(demos.string() + " has a single label");
  }
  const auto known = [&](const std::string& label) {
    return std::find(labels.begin(), labels.end(), label) != labels.end();
  };
  MadeTask made{{}, settings.layout, {file}, {}};
  if (!same) {
    made.files.push_back(demos);
  }
  const auto never_shown =
      std::erase_if(tests, [&](const Example& test) { return !by_label.contains(test.label); });
  if (never_shown > 0) {
    made.notes.push_back(file.string() + ": " + std::to_string(never_shown) +
                         " lines with a label that no demonstration has are left out");
  }
  std::erase_if(tests, [&](const Example& test) { return !known(test.label); });
  if (tests.empty()) {
    text.fail("no line has a label that demonstrations have");
  }
  std::size_t rounds_there = by_label[labels[0]].size();
  for (const auto& label : labels) {
    rounds_there = std::min(rounds_there, by_label[label].size());
  }
  const auto rounds_of = [&](int64_t count) {
    Rounds rounds;
    for (int64_t i = 0; i < count; ++i) {
      auto& round = rounds.emplace_back();
      for (const auto& label : labels) {
        round.push_back(by_label[label][i]);
      }
    }
    return rounds;
  };
  // The draw is the same for every test text, so it has to fit the longest.
  const auto longest = *std::max_element(
      tests.begin(), tests.end(),
      [](const Example& a, const Example& b) { return a.text.size() < b.text.size(); });
  const auto labels_there = static_cast<int64_t>(labels.size());
  int64_t rounds = 0;
  if (shots > 0) {
    rounds = shots / labels_there;
    if (shots % labels_there != 0 || rounds > static_cast<int64_t>(rounds_there)) {
      text.fail("shots=" + std::to_string(shots) + ": a multiple of its " +
                std::to_string(labels_there) + " labels is wanted, at most " +
                std::to_string(rounds_there * labels.size()));
    }
  } else {
    const auto tokens = [&](int64_t count) {
      return tokens_of(icl_record(text, settings, 0, longest, labels, rounds_of(count)), tokenizer);
    };
    if (tokens(1) > settings.length) {
      text.fail("one text of each of its " + std::to_string(labels_there) + " labels takes " +
                std::to_string(tokens(1)) + " tokens, more than the length of " +
                std::to_string(settings.length) + "; labels=N takes N of them");
    }
    while (rounds < static_cast<int64_t>(rounds_there) && tokens(rounds + 1) <= settings.length) {
      ++rounds;
    }
  }
  const auto drawn = rounds_of(rounds);
  for (int64_t item = 0;
       item < std::min<int64_t>(settings.items, static_cast<int64_t>(tests.size())); ++item) {
    made.records.push_back(icl_record(text, settings, item, tests[item], labels, drawn));
  }
  return made;
}

}  // namespace

TaskKind icl_task() {
  return {"icl", "icl:FILE[:demos=FILE][:label=FIELD][:labels=N][:shots=N]", make_icl};
}

}  // namespace motet
