// Files of RULER, HELMET and kvpress: nothing of a prompt is lost, units are what the task is made
// of, and every line that cannot be says where it stands.

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/made_tasks.h"

namespace motet {
namespace {

using nlohmann::json;
using Texts = std::vector<std::string>;

std::string joined(const Texts& texts) {
  std::string text;
  for (const auto& one : texts) {
    text += one;
  }
  return text;
}

class Files : public WithFiles {
 protected:
  std::string error(const std::string& text) const {
    return message([&] { made(text); });
  }
};

json ruler_line(const std::string& input, const Texts& outputs) {
  return {{"index", 4}, {"input", input}, {"outputs", outputs}, {"answer_prefix", " Said so:"}};
}

/// A prompt in the shape of one of RULER's.
struct Shape {
  const char* kind;
  std::string lead, question;
  Texts units;
  std::string answer;
  std::vector<int64_t> gold;
};

void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.kind; }

class Prompts : public Files, public testing::WithParamInterface<Shape> {};

/// A prompt is cut where its kind says, and put together again it is the file's, byte by byte.
TEST_P(Prompts, AreCutAndLoseNothing) {
  const auto& shape = GetParam();
  const auto input = shape.lead + joined(shape.units) + shape.question;
  const auto file = write("ruler.jsonl", {ruler_line(input, {shape.answer})});
  const auto task = made("ruler:" + file + ":kind=" + shape.kind);
  const auto& record = task.records[0];
  EXPECT_EQ(record.lead, shape.lead);
  EXPECT_EQ(record.units, shape.units);
  EXPECT_EQ(record.query, shape.question + " Said so:");
  EXPECT_EQ(record.gold_units, shape.gold);
  // As kvpress cuts it: the question apart from the rest.
  const auto press = write("press.jsonl", {{{"context", shape.lead + joined(shape.units)},
                                            {"question", shape.question},
                                            {"answer_prefix", " Said so:"},
                                            {"answer", {shape.answer}},
                                            {"task", std::string(shape.kind) + "_1"}}});
  const auto pressed = made("kvpress:" + press).records[0];
  EXPECT_EQ(pressed.prompt_hash(), record.prompt_hash());
  EXPECT_EQ(pressed.rule, record.rule);
  EXPECT_EQ(pressed.group, record.group);
}

INSTANTIATE_TEST_SUITE_P(
    Ruler, Prompts,
    testing::Values(
        Shape{"niah",
              "Keep the code in mind.\n",
              "Which code is it?",
              {"Grass grows.\n", "The code is 42.\n", "Rain falls.\n"},
              "42",
              {1}},
        Shape{"niah",  // an essay is a single line, and ends before the question
              "Keep the code in mind.\n",
              "Which code is it?",
              {"Grass grows.", " The code is 42.", " Rain falls.\n"},
              "42",
              {1}},
        Shape{"vt",  // its example is a prompt by itself
              "Follow the names.\n\nVAR A = 1\nNoise.\nQuestion: Who is 1? Answer: A\n\n"
              "Follow the names.\n\n",
              "Question: Who is 7?",
              {"VAR BCD = 7\n", "Noise.\n", "VAR EFG = VAR BCD\n"},
              "BCD",
              {0, 2}},
        Shape{"cwe",  // a list is a single line
              "Count the words.\n1. a 2. b 3. a\nQuestion: Which? Answer: 1. a\nCount the words.\n",
              "Question: Which?",
              {"1. oak", " 2. elm", " 3. oak", " 10. fir\n"},
              "oak",
              {0, 2}},
        Shape{"fwe",  // words stand in the line that says what to do; the most frequent are dots
              "Count the coded words. Name three.",
              "Question: Leave out dots '....'. Which?",
              {" ... abcdef", " ghijkl ... ...", " abcdef ...", " ghijkl\n"},
              "abcdef",
              {0, 2}},
        Shape{"qa",  // passages have a line for their number, one for a title, and lines of text
              "Answer from documents.\n\nHere they are.\n\n",
              "Answer from documents.\n\nQuestion: Who?",
              {"Document 1:\nTitle\nA text.\nDocument 9:\n\n",
               "Document 2:\nAnna did. So he said.\n\n"},
              "Anna",
              {1}}),
    [](const auto& test) { return test.param.kind + std::to_string(test.index); });

/// What a task is follows from the name of its folder, as RULER lays them out, or from `kind`.
TEST_F(Files, OfAFolderAreCalledAsTheFolderIs) {
  const std::string input = "Count.\nOne.\nTwo 7.\nThree.\nWhich?";
  struct Expected {
    const char* folder;
    const char* group;
    int64_t tokens;
    AnswerRule rule;
  };
  for (const auto& [folder, group, tokens, rule] :
       {Expected{"niah_single_1", "recall", 128, AnswerRule::kFound},
        {"vt", "aggregation", 30, AnswerRule::kFound},
        {"cwe", "aggregation", 120, AnswerRule::kFound},
        {"qa_2", "rag", 32, AnswerRule::kAny}}) {
    const auto file = write(std::string(folder) + "/validation.jsonl", {ruler_line(input, {"7"})});
    const auto record = made("ruler:" + file).records[0];
    EXPECT_EQ(record.task, std::string("ruler:") + folder);
    EXPECT_EQ(record.group, group);
    EXPECT_EQ(record.tokens, tokens);
    EXPECT_EQ(record.rule, rule);
  }
  const auto of = [](const std::string& text) { return TaskText(text, ""); };
  EXPECT_EQ(of("ruler:a/validation.jsonl:kind=vt").task(), "ruler:a:kind=vt");
  EXPECT_EQ(of("ruler:a/validation_8192.jsonl").task(), "ruler:a");
  EXPECT_EQ(of("ruler:a/validation.jsonl:kind=vt").short_name(), "a");
  EXPECT_EQ(of("qa:a/test.jsonl").task(), "qa:test");
  EXPECT_EQ(of("qa:validation.jsonl").task(), "qa:validation");
  EXPECT_EQ(of("qa:../validation.jsonl").task(), "qa:validation");
  EXPECT_EQ(of("kv:pairs=3").short_name(), "");
  EXPECT_EQ(of("kv:pairs=3:name=vt").label(), "kv:pairs=3");
}

/// `name` changes what a task is called, and nothing of its items.
TEST_F(Files, AreCalledByName) {
  const auto plain = made("niah"), named = made("niah:name=niah_single_1");
  EXPECT_EQ(named.records[0].task, "niah_single_1");
  EXPECT_EQ(named.records[2].prompt_hash(), plain.records[2].prompt_hash());
  const json own{{"task", "colors"},  {"id", 1},          {"units", {"Red. "}},
                 {"query", "Which?"}, {"answers", {"x"}}, {"score", "any"}};
  auto other = own;
  other["task"] = "shapes";
  const auto one = write("one.jsonl", {own}), two = write("two.jsonl", {own, other});
  EXPECT_EQ(made("record:" + one).records[0].task, "colors");
  EXPECT_EQ(made("record:" + one + ":name=mine").records[0].task, "mine");
  EXPECT_EQ(made("record:" + two + ":name=mine").records[1].task, "mine:shapes");
  EXPECT_EQ(error("kv:name="),
            "the task 'kv:name=': name is empty; what results call the task is "
            "wanted; it is written kv[:pairs=N][:candidates=N][:name=NAME]");
}

TEST_F(Files, OfOneTaskAreOneEntryRuleAndGroup) {
  json own{{"task", "colors"},  {"id", 1},          {"units", {"Red. "}},
           {"query", "Which?"}, {"answers", {"x"}}, {"score", "any"}};
  const auto first = write("a/test.jsonl", {own}), second = write("b/test.jsonl", {own});
  std::map<std::string, std::string> owners;
  const auto add = [&](const std::string& text) {
    return message([&] { require_distinct_tasks(text, made(text), owners); });
  };
  EXPECT_EQ(add("record:" + first), "no error");
  EXPECT_EQ(add("record:" + second),
            "the tasks 'record:" + first + "' and 'record:" + second +
                "' would both be 'colors' in the results, and joined; record:" + second +
                ":name=NAME gives the second a name of its own");
  EXPECT_EQ(add("record:" + second + ":name=colors b"), "no error");
  auto other = own;
  other["id"] = 2;
  other["score"] = "found";
  const auto mixed = write("mixed.jsonl", {own, other});
  EXPECT_EQ(error("record:" + mixed),
            "the task 'record:" + mixed +
                "': the items 1 and 2 of colors have two rules, 'any' and 'found'; figures of a "
                "task are joined, so a task for each is wanted");
  other["score"] = "any";
  other["group"] = "rag";
  EXPECT_NE(error("record:" + write("mixed.jsonl", {own, other})).find("two groups, '' and 'rag'"),
            std::string::npos);
}

/// What is beyond `items` is not read, and said.
TEST_F(Files, HaveSoManyItemsOfEachTask) {
  std::vector<json> own, press;
  for (int i = 0; i < 5; ++i) {
    own.push_back({{"task", "own"},
                   {"id", i},
                   {"units", {"One. "}},
                   {"query", "Which?"},
                   {"answers", {"x"}},
                   {"score", "any"}});
    for (const auto* task : {"niah_single_1", "qa_1"}) {
      press.push_back({{"context", "One. Two " + std::to_string(i) + "."},
                       {"question", "Which?"},
                       {"answer_prefix", ""},
                       {"answer", {"2"}},
                       {"task", task}});
    }
  }
  const auto file = write("own.jsonl", own);
  const auto task = made("record:" + file);
  EXPECT_EQ(task.records.size(), 3u);
  EXPECT_EQ(
      task.notes,
      Texts{file + ": 2 of 5 items are left out; `items` says how many of a task are read, 3"});
  EXPECT_TRUE(made("record:" + file, {.items = 5}).notes.empty());
  const auto pressed = made("kvpress:" + write("press.jsonl", press));
  ASSERT_EQ(pressed.records.size(), 6u);
  EXPECT_EQ(pressed.left_out, 4);
  EXPECT_EQ(pressed.records[5].task, "qa_1");
  EXPECT_EQ(pressed.records[5].id, "5");
  EXPECT_EQ(pressed.records[0].rule, AnswerRule::kFound);
  EXPECT_EQ(pressed.records[1].rule, AnswerRule::kAny);
  EXPECT_EQ(made("kvpress:" + write("press.jsonl", press) + ":score=f1").records[1].rule,
            AnswerRule::kF1);
}

json needle_line(const std::string& key, const Texts& values, const char* kind) {
  std::string context;
  for (const auto& value : values) {
    context += "Rain falls. One of them for " + key + " is: " + value + ". ";
  }
  return {{"context", context}, {"query", key}, {"answer", values}, {"type_needle_v", kind}};
}

/// In each layout what to do stands where it belongs.
TEST_F(Files, OfHelmetAreAskedForInTheirLayout) {
  const auto one = write("a.jsonl", {needle_line("sad-oak", {"7f3"}, "uuids")});
  const auto pce = made("helmet:" + one), helmet = made("helmet:" + one, {.layout = "helmet"});
  EXPECT_EQ(pce.records[0].lead, "");
  EXPECT_EQ(pce.records[0].query, "\n\nThe special magic uuid for sad-oak in the text above is");
  EXPECT_EQ(helmet.layout, "helmet");
  EXPECT_EQ(helmet.records[0].lead,
            "A special magic uuid is hidden in the text below. Remember it: you will be asked for "
            "it.\n");
  EXPECT_EQ(
      helmet.records[0].query,
      "\nWhat is the special magic uuid for sad-oak in the text above? The special magic uuid "
      "for sad-oak in the text above is");
  EXPECT_EQ(helmet.records[0].units, pce.records[0].units);
  const auto tokens = [&](const std::string& key, const Texts& values, const char* kind) {
    return made("helmet:" + write("b.jsonl", {needle_line(key, values, kind)})).records[0].tokens;
  };
  EXPECT_EQ(tokens("sad-oak", {"42"}, "numbers"), 50);                               // multikey_2
  EXPECT_EQ(tokens("0f8fad5b-d9cb-469f-a165-70867728950e", {"7f3"}, "uuids"), 100);  // multikey_3
  EXPECT_EQ(tokens("sad-oak", {"42", "43"}, "numbers"), 50);                         // multivalue
  EXPECT_EQ(tokens("sad-oak, and red-elm", {"42", "43"}, "numbers"), 100);           // multiquery
}

TEST_F(Files, OfHelmetShowTwoPairsInItsLayout) {
  json line{{"context", "JSON data:\n{\n    \"a\": \"1\",\n    \"b\": \"2\"\n}"},
            {"num_kvs", 2},
            {"question", "b"},
            {"answer", "2"}};
  const auto file = write("kv.jsonl", {line});
  EXPECT_EQ(made("helmet:" + file).records[0].units.size(), 2u);
  const TaskSettings settings{.layout = "helmet"};
  EXPECT_EQ(message([&] { made("helmet:" + file, settings); }),
            file + ":1: has no two 'demos', which the layout helmet shows");
  line["demos"] = json::parse(R"([["c", "3"], ["d", "4"], ["e", "5"]])");
  const auto record = made("helmet:" + write("kv.jsonl", {line}), settings).records[0];
  EXPECT_EQ(record.lead, "Give the value that goes with a key of the JSON object below.\n\n{\n");
  EXPECT_EQ(record.query,
            "}\n\nKey: c\nValue that goes with it: 3\n\nKey: d\nValue that goes with it: 4\n\n"
            "Key: b\nValue that goes with it:");
}

/// Two of the pairs that are not asked for, wherever that one is.
TEST(Kv, ShowsTwoPairsInHelmetsLayout) {
  for (const auto& record :
       made("kv:pairs=6", {.length = 900, .items = 12, .layout = "helmet"}).records) {
    std::size_t pairs = 0;
    for (auto at = record.query.find("Key: "); at != std::string::npos;
         at = record.query.find("Key: ", at + 1)) {
      ++pairs;
    }
    EXPECT_EQ(pairs, 3u) << record.gold_units[0];  // and the one that is asked for
  }
}

/// What HELMET took from RULER beside needles.
TEST_F(Files, OfHelmetAreOfFiveKinds) {
  const TaskSettings helmet{.layout = "helmet"};
  const auto vt =
      write("vt/validation_8192.jsonl", {{{"context", "VAR A = 7\nNoise.\nVAR B = VAR A"},
                                          {"query", "7"},
                                          {"num_v", 2},
                                          {"example", "An example."},
                                          {"outputs", {"A", "B"}}}});
  auto record = made("helmet:" + vt, helmet).records[0];
  EXPECT_EQ(record.task, "helmet:vt");
  EXPECT_EQ(record.group, "aggregation");
  EXPECT_EQ(record.lead,
            "An example.\n\nVariables get values in the text below, some of them from other "
            "variables.\n\n");
  EXPECT_EQ(record.query, "\nWhich variables have the value 7? There are 2:");
  EXPECT_EQ(record.units.size(), 3u);
  EXPECT_EQ(made("helmet:" + vt).records[0].query,
            "\nVariables get values in the text above, some of them from other variables.\n"
            "Which variables have the value 7? There are 2:");
  const json list{{"context", "1. oak 2. elm 3. oak"}, {"outputs", {"oak"}}};
  record = made("helmet:" + write("cwe/validation_8192.jsonl", {list})).records[0];
  EXPECT_EQ(record.units, (Texts{"1. oak", " 2. elm", " 3. oak"}));
  EXPECT_EQ(record.tokens, 100);
  const json coded{{"context", "abc ... def abc"}, {"outputs", {"abc"}}};
  record = made("helmet:" + write("coded.jsonl", {coded}) + ":kind=fwe").records[0];
  EXPECT_EQ(record.units, (Texts{"abc ...", " def", " abc"}));
  EXPECT_EQ(error("helmet:" + write("coded.jsonl", {coded})),
            (directory_ / "coded.jsonl").string() +
                ":1: has no 'query', which niah asks for; kind=kv, vt, cwe, fwe or qa says that it "
                "is another task");
  const json passages{{"context", "Document 1:\nAnna.\n\nDocument 2:\nBo."},
                      {"question", "Who?"},
                      {"outputs", {"Bo"}}};
  record = made("helmet:" + write("qa_1/validation_8192.jsonl", {passages}), helmet).records[0];
  EXPECT_EQ(record.units, (Texts{"Document 1:\nAnna.\n\n", "Document 2:\nBo."}));
  EXPECT_EQ(record.query, "\n\nQuestion: Who?\nAnswer:");
  EXPECT_EQ(record.rule, AnswerRule::kSubstring);
  EXPECT_EQ(record.group, "rag");
}

/// Each error begins with the file and the line, and names a field of the file.
TEST_F(Files, ErrorsSayWhereAndWhat) {
  const auto path = [&](const std::string& name) { return (directory_ / name).string(); };
  const auto good = ruler_line("Count.\nOne.\nTwo.\nThree.\nWhich?", {"7"});
  auto line = good;
  line["outputs"] = {"7", ""};
  EXPECT_EQ(error("ruler:" + write("r.jsonl", {good, line})),
            path("r.jsonl") + ":2: 'outputs' has an empty reference");
  line["outputs"] = json::array();
  EXPECT_EQ(error("ruler:" + write("r.jsonl", {line})), path("r.jsonl") + ":1: 'outputs' is empty");
  EXPECT_EQ(
      error("ruler:" + write("r.jsonl", {ruler_line("A single line.", {"7"})})),
      path("r.jsonl") +
          ":1: 'input' is no prompt of RULER's niah: what to do, a context and a question, of "
          "which the last begins a line, are wanted; kind=niah, vt, cwe, fwe or qa says what "
          "is asked");
  auto needle = needle_line("oak", {""}, "numbers");
  EXPECT_EQ(error("helmet:" + write("h.jsonl", {needle})),
            path("h.jsonl") + ":1: 'answer' has an empty reference");
  needle["answer"] = "7";
  needle["context"] = "";
  EXPECT_EQ(error("helmet:" + write("h.jsonl", {needle})),
            path("h.jsonl") + ":1: 'context' is empty; a context has at least one");
  json press{{"context", "One. Two 7."},
             {"question", ""},
             {"answer_prefix", ""},
             {"answer", {"7"}},
             {"max_new_tokens", 9}};
  EXPECT_EQ(error("kvpress:" + write("k.jsonl", {press})),
            path("k.jsonl") + ":1: 'question' is empty; what comes after the context is wanted");
  press["question"] = "Which?";
  press["max_new_tokens"] = 0;
  EXPECT_EQ(error("kvpress:" + write("k.jsonl", {press})),
            path("k.jsonl") + ":1: 'max_new_tokens' is 0; an output has at least 1");
  press["max_new_tokens"] = "9";
  EXPECT_EQ(error("kvpress:" + write("k.jsonl", {press})),
            path("k.jsonl") + ":1: 'max_new_tokens' is \"9\"; a whole number is wanted");
  press.erase("context");
  EXPECT_EQ(error("kvpress:" + write("k.jsonl", {press})),
            path("k.jsonl") + ":1: has no text 'context'");
  write_file(path("hay.txt"), "A text\xff. ");
  EXPECT_EQ(error("niah:hay=" + path("hay.txt")),
            path("hay.txt") + ": byte 6 of 9 is not UTF-8; a text is wanted");
}

TEST(Sizes, EndWhereThereIsNoMore) {
  int64_t largest = 0;
  const auto size = [&](int64_t length, int64_t most) {
    largest = 0;
    return largest_that_fits(
        length, 5, "here",
        [&](int64_t count) {
          largest = std::max(largest, count);
          return count;
        },
        most);
  };
  for (const auto most : {5, 9, 10, 63, 64, 79, 80}) {
    EXPECT_EQ(size(1000, most), most / 5 * 5);
    EXPECT_LE(largest, most);
  }
  EXPECT_EQ(size(42, 63), 40);
  EXPECT_EQ(size(63, 1000), 60);
}

/// Keys are words of a list, which ends.
TEST(Sizes, OfHayOfNeedlesEndWithTheWords) {
  const auto task =
      made("niah:hay=needles:keys=15340:candidates=0", {.length = 1000000, .items = 1});
  EXPECT_EQ(task.records[0].units.size(), 15360u);
  EXPECT_EQ(task.notes,
            Texts{"the task niah:hay=needles:keys=15340:candidates=0: there are words for a hay of "
                  "20 needles, which is shorter than 1000000 tokens; numbers and uuids have more"});
}

}  // namespace
}  // namespace motet
