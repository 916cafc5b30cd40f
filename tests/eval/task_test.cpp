// Items of the tasks that are made: the same for the same seed, however many there are and whoever
// asks.

#include "motet/eval/task.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "eval/made_tasks.h"
#include "motet/files/sha256.h"

namespace motet {
namespace {

using nlohmann::json;

std::string joined(const TaskRecord& record) {
  std::string text = record.lead;
  for (const auto& unit : record.units) {
    text += unit;
  }
  return text + record.query;
}

/// What every made item promises.
void check(const MadeTask& task, const TaskSettings& settings) {
  ASSERT_EQ(static_cast<int64_t>(task.records.size()), settings.items);
  for (const auto& record : task.records) {
    EXPECT_NO_THROW(record.validate());
    EXPECT_LE(tokens_of(record, gpt2()), settings.length);
    EXPECT_GE(tokens_of(record, gpt2()), settings.length * 2 / 3) << record.task;
    for (const auto unit : record.gold_units) {
      const bool holds =
          std::any_of(record.answers.begin(), record.answers.end(), [&](const std::string& answer) {
            return record.units[unit].find(answer) != std::string::npos;
          });
      EXPECT_TRUE(holds) << record.units[unit];
    }
  }
}

class Made : public testing::TestWithParam<const char*> {};

TEST_P(Made, AreTheSameForTheSameSeedAndDoNotHangOnEachOther) {
  for (const auto* layout : {"pce", "helmet"}) {
    const TaskSettings settings{.length = 600, .items = 3, .seed = 7, .layout = layout};
    const auto all = made(GetParam(), settings);
    check(all, settings);
    auto more = settings;
    more.items = 5;
    const auto longer = made(GetParam(), more);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(joined(all.records[i]), joined(longer.records[i]));
      EXPECT_EQ(all.records[i].answers, longer.records[i].answers);
    }
    EXPECT_NE(joined(all.records[0]), joined(all.records[1]));
    auto other = settings;
    other.seed = 8;
    EXPECT_NE(joined(all.records[0]), joined(made(GetParam(), other).records[0]));
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, Made,
                         testing::Values("kv", "niah", "niah:hay=needles:keys=2",
                                         "niah:keys=3:queries=2:values=2:value=uuids", "vt",
                                         "vt:chains=2:hops=2", "cwe", "fwe"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::replace_if(
                               name.begin(), name.end(),
                               [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); },
                               '_');
                           return name;
                         });

/// The bytes of one item of each: on this machine as on every other.
TEST(Tasks, AreTheSameBytesEverywhere) {
  std::string all;
  for (const auto* task : {"kv", "niah", "vt", "cwe", "fwe"}) {
    all += joined(made(task, {.length = 500, .items = 1, .seed = 42}).records[0]);
  }
  EXPECT_EQ(sha256(all), "3d05f72bab781802d661fe50a8dd091664eb34a504e889a2d930fdad78a6a4ac");
}

TEST(Tasks, HideWhatTheyAskForWhereTheyAreTold) {
  for (const auto percent : {0, 50, 100}) {
    const auto task = made("niah:depth=" + std::to_string(percent));
    for (const auto& record : task.records) {
      EXPECT_NEAR(*record.depth, percent / 100.0, 0.02);
      EXPECT_EQ(record.gold_units.size(), 1u);
    }
  }
  const auto several = made("niah:keys=2:values=3").records[0];
  EXPECT_EQ(several.answers.size(), 3u);
  EXPECT_EQ(several.gold_units.size(), 3u);
  EXPECT_EQ(made("niah:candidates=0").records[0].candidates.size(), 0u);
  EXPECT_EQ(made("kv:pairs=6").records[0].units.size(), 6u);
}

TEST(Tasks, OfATextHideNeedlesBetweenItsSentences) {
  const auto book = (std::filesystem::path(MOTET_TEST_DATA) / "valid_books.txt").string();
  const auto task = made("niah:hay=" + book);
  EXPECT_EQ(task.records[0].task, "niah:hay=valid_books");
  EXPECT_EQ(task.files.size(), 1u);
  for (const auto& record : task.records) {
    ASSERT_EQ(record.gold_units.size(), 1u);
    EXPECT_TRUE(record.units[record.gold_units[0]].starts_with(" The secret number of "));
  }
}

/// Variables get their values from those before them, in the order of the answer.
TEST(Tasks, ChainsOfVariablesCanBeFollowed) {
  for (const auto& record : made("vt:chains=3:hops=3").records) {
    std::map<std::string, std::string> values;
    for (const auto& unit : record.units) {
      if (unit.starts_with("VAR ")) {
        const auto value = unit.substr(12, unit.size() - 13);
        values[unit.substr(4, 5)] = value.starts_with("VAR ") ? values.at(value.substr(4)) : value;
      }
    }
    EXPECT_EQ(values.size(), 12u);
    std::vector<std::string> with_value;
    for (const auto& [name, value] : values) {
      if (record.query.find(" " + value + "?") != std::string::npos) {
        with_value.push_back(name);
      }
    }
    auto answers = record.answers;
    std::sort(answers.begin(), answers.end());
    EXPECT_EQ(with_value, answers);
  }
}

/// The answers are what counting finds.
TEST(Tasks, WordsThatComeOftenDo) {
  for (const auto* name : {"cwe", "fwe"}) {
    for (const auto& record : made(name).records) {
      std::map<std::string, int> counts;
      for (const auto& unit : record.units) {
        std::istringstream words(unit);
        for (std::string word; words >> word;) {
          counts[word] += word.find('.') == std::string::npos;
        }
      }
      std::vector<std::pair<int, std::string>> order;
      for (const auto& [word, count] : counts) {
        order.emplace_back(-count, word);
      }
      std::sort(order.begin(), order.end());
      const auto answers = record.answers.size();
      EXPECT_LT(order[answers - 1].first, order[answers].first);
      for (std::size_t i = 0; i < answers; ++i) {
        EXPECT_NE(std::find(record.answers.begin(), record.answers.end(), order[i].second),
                  record.answers.end());
      }
    }
  }
}

using TaskFiles = WithFiles;

TEST_F(TaskFiles, InContextLearningIsBalancedAndMapsLabelsAnew) {
  std::vector<json> lines;
  for (int i = 0; i < 120; ++i) {
    lines.push_back({{"text", "text number " + std::to_string(i)},
                     {"label", std::string(1, static_cast<char>('a' + i % 3))}});
  }
  const auto task = made("icl:" + write("labels.jsonl", lines));
  ASSERT_EQ(task.records.size(), 3u);
  std::set<std::string> demonstrations;
  std::set<std::map<int, std::string>> mappings;
  for (const auto& record : task.records) {
    EXPECT_EQ(record.task, "icl:labels");
    EXPECT_EQ(record.units.size() % 3, 0u);
    std::map<int, std::string> mapping;
    std::vector<int> counts(3);
    std::string sorted;
    for (const auto& unit : record.units) {
      const auto number = std::stoi(unit.substr(12));
      const auto label = std::string(1, static_cast<char>('a' + number % 3));
      const auto shown = unit[unit.find("label: ") + 7] - '0';
      EXPECT_TRUE(mapping.emplace(shown, label).first->second == label);
      ++counts[shown];
    }
    EXPECT_EQ(counts[0], counts[1]);
    EXPECT_EQ(counts[1], counts[2]);
    EXPECT_EQ(record.candidates, (std::vector<std::string>{"0", "1", "2"}));
    const auto asked = std::stoi(record.query.substr(record.query.find("text number ") + 12));
    EXPECT_EQ(mapping.at(std::stoi(record.answers[0])),
              std::string(1, static_cast<char>('a' + asked % 3)));
    mappings.insert(mapping);
    for (const auto& unit : record.units) {
      EXPECT_EQ(unit.find("number " + std::to_string(asked) + "\n"), std::string::npos);
      demonstrations.insert(unit.substr(0, unit.find('\n')));
    }
  }
  EXPECT_GT(mappings.size(), 1u);
  EXPECT_EQ(demonstrations.size(), task.records[0].units.size());  // one draw for all items
  EXPECT_NE(message([&] {
              made("icl:" + write("labels.jsonl", lines) + ":shots=4");
            }).find("a multiple of its 3 labels is wanted"),
            std::string::npos);
}

TEST_F(TaskFiles, PassagesStandWhereTheyAreTold) {
  std::vector<json> lines;
  for (int i = 0; i < 5; ++i) {
    auto passages = json::array();
    for (int p = 0; p < 6; ++p) {
      passages.push_back({{"title", "T"}, {"text", "passage " + std::to_string(p)}});
    }
    lines.push_back({{"question", "q" + std::to_string(i)},
                     {"answers", {"passage 4"}},
                     {"documents", passages},
                     {"gold", {4}}});
  }
  lines.push_back({{"question", "none"}, {"answers", json::array()}, {"documents", json::array()}});
  const auto file = write("qa.jsonl", lines);
  for (const auto& [place, unit] : {std::pair{"first", 0}, {"middle", 2}, {"last", 4}}) {
    const auto task = made("qa:" + file + ":passages=5:gold=" + place);
    EXPECT_EQ(task.notes.size(), 1u);
    for (const auto& record : task.records) {
      EXPECT_EQ(record.units.size(), 5u);
      EXPECT_EQ(record.gold_units, std::vector<int64_t>{unit});
      EXPECT_EQ(record.units[unit], "Document (Title: T): passage 4\n\n");
    }
  }
  EXPECT_EQ(made("qa:" + file + ":gold=file").records[0].gold_units, std::vector<int64_t>{4});
}

/// Kilt files, as HELMET has them.
TEST_F(TaskFiles, OfOthersAreReadAsTheyAre) {
  const auto kilt = write("kilt.jsonl", {{{"question", "q"},
                                          {"answers", {"x"}},
                                          {"ctxs",
                                           {{{"title", "A"}, {"text", "a x"}, {"has_answer", true}},
                                            {{"title", "B"}, {"text", "b"}}}}}});
  EXPECT_EQ(made("qa:" + kilt + ":gold=file").records[0].gold_units, std::vector<int64_t>{0});
  const auto ruler = write(
      "ruler.jsonl", {{{"index", 99},
                       {"input", "Remember.\nLine one.\nA 42 here.\nThree.\nWhat is it? It is"},
                       {"outputs", {"42"}},
                       {"answer_prefix", " :"}}});
  const auto record = made("ruler:" + ruler).records[0];
  EXPECT_EQ(record.lead, "Remember.\n");
  EXPECT_EQ(record.units, (std::vector<std::string>{"Line one.\n", "A 42 here.\n", "Three.\n"}));
  EXPECT_EQ(record.query, "What is it? It is :");
  EXPECT_EQ(record.gold_units, std::vector<int64_t>{1});
  EXPECT_EQ(record.id, "0");
  EXPECT_EQ(record.tokens, 128);
  EXPECT_EQ(made("ruler:" + ruler + ":kind=qa").records[0].rule, AnswerRule::kAny);
  const auto kv =
      write("kv.jsonl", {{{"context", "JSON data:\n{\n    \"a\": \"1\",\n    \"b\": \"2\"\n}"},
                          {"num_kvs", 2},
                          {"question", "b"},
                          {"answer", "2"}}});
  const auto pairs = made("helmet:" + kv).records[0];
  EXPECT_EQ(pairs.units.size(), 2u);
  EXPECT_EQ(pairs.gold_units, std::vector<int64_t>{1});
  const auto press = write("press.jsonl", {{{"context", "One. Two 7. Three."},
                                            {"question", "Which?"},
                                            {"answer_prefix", " It is"},
                                            {"answer", {"7"}},
                                            {"max_new_tokens", 9},
                                            {"task", "niah_single_1"}}});
  const auto pressed = made("kvpress:" + press).records[0];
  EXPECT_EQ(pressed.task, "niah_single_1");
  EXPECT_EQ(pressed.tokens, 9);
  EXPECT_EQ(pressed.gold_units, std::vector<int64_t>{1});
}

TEST(Tasks, ErrorsSayHowATaskIsWritten) {
  const auto error = [](const std::string& text) { return message([&] { made(text); }); };
  EXPECT_EQ(error("nih").find("the task 'nih': no such name; there are record:FILE, icl:FILE"), 0u);
  EXPECT_EQ(error("kv:pairs=x")
                .find("the task 'kv:pairs=x': pairs is 'x'; a whole number of at "
                      "least 2 is wanted; it is written kv"),
            0u);
  EXPECT_EQ(error("kv:keys=2").find("the task 'kv:keys=2': it has no option 'keys'"), 0u);
  EXPECT_EQ(error("kv:three").find("the task 'kv:three': 'three' is no option"), 0u);
  EXPECT_EQ(error("niah:depth=101").find("the task 'niah:depth=101': depth is '101'; from 0"), 0u);
  EXPECT_EQ(error("niah:key=letters").find("key is 'letters'; one of words, numbers, uuids"), 29u);
  EXPECT_EQ(error("record").find("the task 'record': a file is wanted"), 0u);
  EXPECT_EQ(message([] {
              made("kv", {.length = 60, .items = 1});
            }).find("the task kv: its smallest prompt has "),
            0u);
}

TEST(Tasks, OfOnesOwnAreRegistered) {
  EXPECT_TRUE(register_task(
      {"echo", "echo:times=N", [](const TaskText& text, const TaskSettings&, const Tokenizer&) {
         MadeTask items{{}, "echo", {}, {}};
         const auto times = text.number("times", 1);
         text.no_more();
         TaskRecord record;
         record.task = text.label();
         record.id = std::to_string(times);
         items.records.push_back(record);
         return items;
       }}));
  EXPECT_EQ(made("echo:times=4").records[0].id, "4");
  EXPECT_NE(task_usages().find(" and echo:times=N"), std::string::npos);
}

}  // namespace
}  // namespace motet
