// Questions over passages and texts to label: what their files may hold, and what is said of it.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "eval/made_tasks.h"
#include "motet/files/sha256.h"

namespace motet {
namespace {

using nlohmann::json;
using Passages = std::vector<int64_t>;

class Questions : public WithFiles {
 protected:
  static MadeTask made(const std::string& text,
                       const TaskSettings& settings = {.length = 600, .items = 20}) {
    return motet::made(text, settings);
  }
  /// Its notes, without the file's name.
  static std::vector<std::string> notes(const MadeTask& task) {
    auto all = task.notes;
    for (auto& note : all) {
      note = note.substr(task.files[0].string().size());
    }
    return all;
  }
  /// A question over so many passages, "passage 0 of NAME" and on.
  static json question(const std::string& name, int64_t passages, const json& gold,
                       const char* field = "documents") {
    json line{{"question", name}, {"answers", {"x"}}, {"gold", gold}, {field, json::array()}};
    for (int64_t i = 0; i < passages; ++i) {
      line[field].push_back({{"text", "passage " + std::to_string(i) + " of " + name}});
    }
    return line;
  }
  /// The numbers of a record's passages, as they stand there.
  static Passages passages(const TaskRecord& record) {
    Passages all;
    for (const auto& unit : record.units) {
      all.push_back(std::stoll(unit.substr(unit.find("passage ") + 8)));
    }
    return all;
  }
  /// The passages that a record says are gold.
  static Passages gold(const TaskRecord& record) {
    Passages all;
    for (const auto unit : record.gold_units) {
      all.push_back(passages(record)[unit]);
    }
    return all;
  }
};

TEST_F(Questions, ReferencesThatEveryOutputHoldsAreLeftOut) {
  auto some = question("some", 2, 0), none = question("none", 2, 0);
  some["answers"] = {"", "The", "Paris", "!"};
  none["answers"] = {"A"};
  const auto task = made("qa:" + write("qa.jsonl", {some, none}));
  ASSERT_EQ(task.records.size(), 1u);
  EXPECT_EQ(task.records[0].answers, std::vector<std::string>{"Paris"});
  EXPECT_EQ(task.records[0].gold, "Paris");
  EXPECT_EQ(score_answer(task.records[0], " John"), 0);
  EXPECT_EQ(notes(task), (std::vector<std::string>{
                             ": 4 references of nothing but articles and punctuation, which are "
                             "not compared, are left out",
                             ": 1 questions without an answer are left out"}));
}

TEST_F(Questions, ReferencesThatEveryOutputHoldsAreTold) {
  const auto record = [](const char* id, const char* rule, const char* answer) {
    return json{{"task", rule}, {"id", id},      {"units", {"u"}},
                {"query", "q"}, {"score", rule}, {"answers", {"Paris", answer}}};
  };
  const auto file = write("r.jsonl", {record("1", "substring", "The"), record("2", "exact", "A")});
  const auto task = made("record:" + file, {.items = 2});
  EXPECT_EQ(task.records.size(), 2u);
  EXPECT_EQ(
      task.notes,
      (std::vector<std::string>{
          "1 items have a reference of nothing but articles and punctuation "
          "(the first: substring 1, 'The'), which every output holds by the rule substring"}));
}

/// What does not fit goes from the end of the file, but for gold passages, and is told of.
TEST_F(Questions, GoldPassagesAreKeptWhereAllDoNotFit) {
  const auto file = write(
      "qa.jsonl", {question("one", 20, 18), question("two", 20, {19, 3}), question("short", 2, 0)});
  for (const auto* place : {"file", "random", "last"}) {
    const auto task = made("qa:" + file + ":gold=" + place, {.length = 150, .items = 3});
    ASSERT_EQ(task.records.size(), 3u);
    int64_t left_out = 0;
    for (const auto& record : task.records) {
      EXPECT_LE(tokens_of(record, gpt2()), 150);
      auto there = passages(record);
      const auto count = static_cast<int64_t>(there.size());
      left_out += (record.id == "2" ? 2 : 20) - count;
      std::sort(there.begin(), there.end());
      Passages expected;
      const auto golds = record.id == "0"   ? Passages{18}
                         : record.id == "1" ? Passages{3, 19}
                                            : Passages{0};
      for (int64_t i = 0; expected.size() + golds.size() < there.size(); ++i) {
        if (std::find(golds.begin(), golds.end(), i) == golds.end()) {
          expected.push_back(i);
        }
      }
      expected.insert(expected.end(), golds.begin(), golds.end());
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(there, expected);
      auto said = gold(record);
      std::sort(said.begin(), said.end());
      EXPECT_EQ(said, golds);
    }
    EXPECT_GT(left_out, 0);
    EXPECT_EQ(notes(task),
              std::vector<std::string>{": " + std::to_string(left_out) +
                                       " passages of 2 questions, the last that are not gold, are "
                                       "left out to fit 150 tokens"});
  }
  EXPECT_TRUE(made("qa:" + file).notes.empty());  // all fit 600
}

TEST_F(Questions, GoldIsAPassageOrAListOfThem) {
  const auto error = [&](const json& gold) {
    const auto file = write("qa.jsonl", {question("q", 3, gold)});
    const auto text = message([&] { made("qa:" + file); });
    EXPECT_EQ(text.find(file + ":1: "), 0u);
    return text.substr(std::min(text.size(), file.size() + 4));
  };
  EXPECT_EQ(error("1"), "'gold' is \"1\"; a passage is wanted, counted from 0, or a list of them");
  EXPECT_EQ(error({0, 0.5}),
            "'gold' is [0,0.5]; a passage is wanted, counted from 0, or a list of them");
  EXPECT_EQ(error(3), "'gold' has 3; there are passages 0 to 2");
  EXPECT_EQ(error(-1), "'gold' has -1; there are passages 0 to 2");
  auto line = question("q", 3, nullptr);
  line["documents"][1]["has_answer"] = "yes";
  const auto file = write("qa.jsonl", {line});
  EXPECT_EQ(message([&] { made("qa:" + file); }),
            file + ":1: 'has_answer' is \"yes\"; true or false is wanted");
  // However often it is said, a passage is there once.
  line["documents"][1]["has_answer"] = true;
  for (const auto& given : {json(1), json({1, 1}), json({1}), json()}) {
    line["gold"] = given;
    const auto record = made("qa:" + write("qa.jsonl", {line})).records[0];
    auto there = passages(record);
    std::sort(there.begin(), there.end());
    EXPECT_EQ(there, (Passages{0, 1, 2}));
    EXPECT_EQ(gold(record), Passages{1});
  }
}

TEST_F(Questions, TheFirstGoldPassageStandsWhereItIsTold) {
  std::vector<json> lines;
  for (int i = 0; i < 20; ++i) {
    lines.push_back(question("q" + std::to_string(i), 9, {7, 2, 5}));
  }
  lines.push_back(question("none", 9, nullptr));
  const auto file = write("qa.jsonl", lines);
  for (const auto& [place, unit] : {std::pair{"first", 0}, {"middle", 3}, {"last", 6}}) {
    const auto task =
        made("qa:" + file + ":passages=7:gold=" + place, {.length = 600, .items = 99});
    for (const auto& record : task.records) {
      if (record.id != "20") {
        EXPECT_EQ(passages(record)[unit], 7);
        EXPECT_EQ(record.gold_units.size(), 3u);
        EXPECT_DOUBLE_EQ(*record.depth, unit / 6.0);
      }
    }
    EXPECT_EQ(notes(task), std::vector<std::string>{": 1 questions have no gold passage for gold=" +
                                                    std::string(place)});
  }
  EXPECT_TRUE(made("qa:" + file, {.length = 600, .items = 99}).notes.empty());
}

/// Files as HELMET has them are read as they are, unless an option says otherwise; others are not.
TEST_F(Questions, OfHelmetAreReadAsTheyAre) {
  std::vector<json> kilt, own;
  for (int i = 0; i < 20; ++i) {
    const auto name = "q" + std::to_string(i);
    kilt.push_back(question(name, 6, {4, 1}, "ctxs"));
    own.push_back(question(name, 6, {4, 1}));
  }
  const auto as_it_is = [](const MadeTask& task) {
    return std::all_of(task.records.begin(), task.records.end(), [](const TaskRecord& record) {
      return passages(record) == Passages{0, 1, 2, 3, 4, 5};
    });
  };
  const auto file = write("kilt.jsonl", kilt);
  EXPECT_TRUE(as_it_is(made("qa:" + file)));
  EXPECT_FALSE(as_it_is(made("qa:" + file + ":gold=random")));
  EXPECT_FALSE(as_it_is(made("qa:" + write("own.jsonl", own))));
}

/// HELMET has a question at several depths, under one id; demonstrations show none that is asked.
TEST_F(Questions, ThatComeAgainAreNumbered) {
  std::vector<json> lines;
  for (const auto* id : {"a", "a", "b", "a#2", "a", "c"}) {
    lines.push_back(question(std::string("what of ") + id[0], 3, 1, "ctxs"));
    lines.back()["id"] = id;
  }
  const auto file = write("kilt.jsonl", lines);
  std::set<std::string> ids;
  for (const auto& record : made("qa:" + file).records) {
    ids.insert(record.id);
  }
  EXPECT_EQ(ids, (std::set<std::string>{"a", "a#2", "b", "a#2#2", "a#3", "c"}));
  for (int64_t seed = 0; seed < 8; ++seed) {
    const auto task =
        made("qa:" + file, {.length = 600, .items = 20, .seed = seed, .layout = "helmet"});
    for (const auto& record : task.records) {
      const auto asked = record.query.substr(record.query.rfind("what of "), 9);
      EXPECT_EQ(record.query.find(asked), record.query.rfind(asked)) << record.query;
    }
  }
}

/// Prompts of questions with one gold passage are those of results that are kept.
TEST_F(Questions, AreTheSameBytesEverywhere) {
  std::vector<json> lines;
  for (int64_t i = 0; i < 6; ++i) {
    lines.push_back(question("q" + std::to_string(i), 8, json::array({i})));
  }
  const auto file = write("qa.jsonl", lines);
  std::string all;
  for (const auto* options : {"", ":passages=5", ":passages=5:gold=first", ":gold=middle",
                              ":passages=3:gold=last", ":gold=file"}) {
    for (const auto* layout : {"pce", "helmet"}) {
      const auto task =
          made("qa:" + file + options, {.length = 160, .items = 4, .seed = 42, .layout = layout});
      for (const auto& record : task.records) {
        all += record.id + record.prompt_hash() + json(record.gold_units).dump();
      }
    }
  }
  EXPECT_EQ(sha256(all), "d7631012def24ed65ba915979f0df56ec561e7383660e04f59f2ccf780d154e9");
}

TEST_F(Questions, ToLabelNeedALabelThatIsShown) {
  const auto lines = [](const std::vector<json>& labels) {
    std::vector<json> all;
    for (int i = 0; i < 12; ++i) {
      all.push_back({{"text", "text " + std::to_string(i)}, {"label", labels[i % labels.size()]}});
    }
    return all;
  };
  const auto demos = write("demos.jsonl", lines({"a", "b"}));
  const auto strange = write("strange.jsonl", lines({"x", "y"}));
  const auto text = "icl:" + strange + ":demos=" + demos;
  EXPECT_EQ(message([&] { made(text); })
                .find("the task '" + text +
                      "': no line has a label that demonstrations have; it is written icl:FILE"),
            0u);
  const auto some = made("icl:" + write("some.jsonl", lines({"a", "x", "b"})) + ":demos=" + demos);
  EXPECT_EQ(some.records.size(), 8u);
  EXPECT_EQ(notes(some), std::vector<std::string>{
                             ": 4 lines with a label that no demonstration has are left out"});
  EXPECT_TRUE(made("icl:" + demos + ":labels=2").notes.empty());
}

TEST_F(Questions, LabelsAreTextsOrWholeNumbers) {
  std::vector<json> numbers, texts;
  for (int i = 0; i < 12; ++i) {
    const json text = "text " + std::to_string(i);
    numbers.push_back({{"text", text}, {"label", i % 3}});
    texts.push_back({{"text", text}, {"label", std::to_string(i % 3)}});
  }
  const auto of_numbers = made("icl:" + write("labels.jsonl", numbers));
  const auto of_texts = made("icl:" + write("labels.jsonl", texts));
  ASSERT_EQ(of_numbers.records.size(), of_texts.records.size());
  for (std::size_t i = 0; i < of_texts.records.size(); ++i) {
    EXPECT_EQ(of_numbers.records[i].prompt_hash(), of_texts.records[i].prompt_hash());
    EXPECT_EQ(of_numbers.records[i].answers, of_texts.records[i].answers);
  }
  numbers[1]["label"] = 0.5;
  const auto file = write("half.jsonl", numbers);
  EXPECT_EQ(message([&] { made("icl:" + file); }),
            file + ":2: 'label' is neither a text nor a whole number");
}

}  // namespace
}  // namespace motet
