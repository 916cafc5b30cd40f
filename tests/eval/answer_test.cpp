// How outputs are scored, and how figures over items get their intervals.

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "motet/error.h"
#include "motet/eval/intervals.h"
#include "motet/eval/record.h"
#include "motet/eval/task_row.h"
#include "motet/files/atomic.h"
#include "temporary.h"

namespace motet {
namespace {

using nlohmann::json;

TaskRecord record(AnswerRule rule, std::vector<std::string> answers, bool line = false) {
  TaskRecord record;
  record.rule = rule;
  record.answers = std::move(answers);
  record.parse_line = line;
  return record;
}

/// Normalisation of the SQuAD scorer, on what it is known to do.
TEST(Answer, IsNormalisedAsSquadDoes) {
  EXPECT_EQ(normalized_answer("The  Eiffel-Tower, an \n icon!"), "eiffeltower icon");
  EXPECT_EQ(normalized_answer("a the an"), "");
  EXPECT_EQ(normalized_answer("another theme"), "another theme");
  EXPECT_EQ(normalized_answer("ÉTÉ\u00A0the ß"), "été ß");
}

TEST(Answer, IsScoredByTheRule) {
  EXPECT_EQ(score_answer(record(AnswerRule::kExact, {"2"}, true), " 2\nlabel: 3"), 1);
  EXPECT_EQ(score_answer(record(AnswerRule::kExact, {"2"}), " 2\nlabel: 3"), 0);
  EXPECT_EQ(score_answer(record(AnswerRule::kExact, {"2"}, true), "\n2"), 0);
  // On a second line it counts, as PCE scores it.
  EXPECT_EQ(score_answer(record(AnswerRule::kSubstring, {"Paris"}, true), "It is\nparis."), 1);
  EXPECT_EQ(score_answer(record(AnswerRule::kSubstring, {"Paris", "the Lyon"}, true), "LYON"), 1);
  EXPECT_EQ(score_answer(record(AnswerRule::kFound, {"12", "34", "Ab"}), "x12 and aB"), 2.0 / 3);
  EXPECT_EQ(score_answer(record(AnswerRule::kFound, {"New York"}), "new york!"), 1);
  EXPECT_EQ(score_answer(record(AnswerRule::kAny, {"12", "34"}), "34"), 1);
  EXPECT_EQ(score_answer(record(AnswerRule::kAny, {"12", "34"}), ""), 0);
  // Two words of three that are said, of two that are wanted: 2 * 2 / 5.
  EXPECT_DOUBLE_EQ(score_answer(record(AnswerRule::kF1, {"green house"}), "a big green house"),
                   0.8);
  EXPECT_DOUBLE_EQ(score_answer(record(AnswerRule::kF1, {"no no"}), "no"), 2.0 / 3);
}

TEST(Answer, OfALineIsStripped) {
  EXPECT_EQ(parsed_answer(record(AnswerRule::kExact, {"x"}, true), "\t one two \u00A0\nthree"),
            "one two");
  EXPECT_EQ(parsed_answer(record(AnswerRule::kExact, {"x"}), " one\n"), " one\n");
}

TEST(Record, ErrorsNameFileLineAndField) {
  const TemporaryDirectory directory;
  const auto path = (directory / "records.jsonl").string();
  const json good{{"task", "t"},  {"id", 1},          {"units", {"a", "b"}},
                  {"query", "q"}, {"answers", {"x"}}, {"score", "exact"}};
  const auto error_with = [&](const char* field, const json& value) {
    auto line = good;
    line[field] = value;
    write_file(path, "\n" + line.dump() + "\n");
    const auto error = message([&] { read_records(path); });
    return error.starts_with(path + ":2: ") ? error.substr(path.size() + 4) : error;
  };
  EXPECT_EQ(error_with("task", 3), "'task' is 3; a text is wanted");
  EXPECT_EQ(error_with("id", 1.5), "'id' is 1.5; a text or a whole number is wanted");
  EXPECT_EQ(error_with("units", "a"), "'units' is \"a\"; a list of texts is wanted");
  EXPECT_EQ(error_with("units", json::array()), "'units' is empty; a context has at least one");
  EXPECT_EQ(error_with("units", {"a", ""}), "unit 1 of 2 is empty");
  EXPECT_EQ(error_with("query", nullptr), "has no 'query'");
  EXPECT_EQ(error_with("answers", json::array()),
            "'answers' is empty; at least one reference is wanted");
  EXPECT_EQ(error_with("score", "rouge"),
            "'score' is \"rouge\"; one of exact, substring, found, any, f1 is wanted");
  EXPECT_EQ(error_with("parse", "json"),
            "'parse' is \"json\"; \"line\" is known; without it the whole output is the answer");
  EXPECT_EQ(error_with("tokens", 0), "'tokens' is 0; an output has at least 1");
  EXPECT_EQ(error_with("gold_units", {2}), "'gold_units' has 2; there are units 0 to 1");
  EXPECT_EQ(error_with("candidates", {"y", "z"}),
            "'candidates' has no 'x', which is the gold answer");
  EXPECT_EQ(error_with("depth", 2), "'depth' is 2; from 0 to 1 is wanted");
  write_file(path, good.dump() + "\n" + good.dump() + "\n");
  EXPECT_EQ(message([&] { read_records(path); }), path + ":2: 'id' 1 of the task t is there twice");
  write_file(path, good.dump() + "\n{");
  EXPECT_EQ(message([&] { read_records(path); }).find(path + ":2: not JSON at byte"), 0u);
}

TEST(Record, FieldsThatAreNullAreAbsentAndOthersAreListed) {
  const TemporaryDirectory directory;
  const auto path = directory / "records.jsonl";
  write_file(path, json{{"task", "t"},
                        {"id", "one"},
                        {"units", {"a"}},
                        {"query", "q"},
                        {"answers", {"x", "y"}},
                        {"score", "found"},
                        {"gold_units", nullptr},
                        {"unit_ids", {1}},
                        {"parse", nullptr}}
                       .dump());
  const auto read = read_records(path);
  ASSERT_EQ(read.records.size(), 1u);
  EXPECT_EQ(read.records[0].gold, "x");
  EXPECT_TRUE(read.records[0].gold_units.empty());
  EXPECT_EQ(read.other_fields, std::vector<std::string>{"unit_ids"});
}

/// The mean of a bootstrap of many items is near its normal approximation.
TEST(Intervals, AreThoseOfTheMean) {
  ItemFigure figure;
  double mean = 0, squares = 0;
  constexpr int64_t kItems = 400;
  for (int64_t i = 0; i < kItems; ++i) {
    const auto value = static_cast<double>((i * 7919) % 1000) / 1000;
    figure.add(value);
    mean += value / kItems;
    squares += value * value / kItems;
  }
  const auto interval = Resamples(kItems).over(figure);
  const auto half = 1.96 * std::sqrt((squares - mean * mean) / kItems);
  EXPECT_NEAR(*interval.value, mean, 1e-12);
  EXPECT_NEAR(*interval.low, mean - half, 0.1 * half);  // 2,000 draws
  EXPECT_NEAR(*interval.high, mean + half, 0.1 * half);
}

TEST(Intervals, OfPairedDifferencesLeaveOutWhatIsCommon) {
  ItemFigure a, b, few;
  for (int i = 0; i < 50; ++i) {
    const auto item = static_cast<double>((i * 37) % 50);  // items differ far more than modes
    a.add(item + 0.5);
    b.add(item + (i % 2 == 0 ? 0.0 : 0.1));
    few.add(i < 20 ? std::optional(item) : std::nullopt);
  }
  const Resamples draws(50);
  const auto difference = draws.difference(a, b);
  EXPECT_NEAR(*difference.value, 0.45, 1e-12);
  EXPECT_NEAR(*difference.high - *difference.low, 2 * 1.96 * 0.05 / std::sqrt(50.0), 5e-3);
  EXPECT_NEAR(*draws.difference(a, few).value, 0.5, 1e-12);  // over the items that have both
}

TEST(Intervals, NeedTwoItems) {
  ItemFigure one, none;
  one.add(3.0);
  none.add({});
  ItemFigure four;
  for (int i = 0; i < 4; ++i) {
    four.add(i);
  }
  EXPECT_EQ(Resamples(4).over(four).value, 1.5);
  EXPECT_FALSE(Resamples(4).over(four).low.has_value());
  four.add(4);
  EXPECT_TRUE(Resamples(5).over(four).low.has_value());
  const Resamples draws(1);
  EXPECT_EQ(draws.over(one).value, 3.0);
  EXPECT_FALSE(draws.over(one).low.has_value());
  EXPECT_FALSE(draws.over(none).value.has_value());
}

/// Items of a task in modes, with an entropy and a loss for each.
std::vector<ItemRow> rows_of(const std::string& task, const std::string& group,
                             const std::vector<std::vector<std::pair<double, double>>>& items) {
  const std::vector<std::string> modes{"full", "parallel", "sink", "selective"};
  std::vector<ItemRow> rows;
  for (std::size_t item = 0; item < items.size(); ++item) {
    for (std::size_t mode = 0; mode < items[item].size(); ++mode) {
      ItemRow row;
      row.task = task;
      row.group = group;
      row.id = std::to_string(item);
      row.mode = modes[mode];
      row.reading = "all";
      row.pieces = mode == 0 ? 1 : 4;
      row.prefix_tokens = mode == 2 ? 5 : 0;
      row.selected = mode == 3 ? 2 : 0;
      row.entropy_query = items[item][mode].first;
      row.answer_nll = items[item][mode].second;
      row.answer_tokens = 1;
      rows.push_back(row);
    }
  }
  return rows;
}

TEST(Correlation, IsOfRanksOverTheModesOfATask) {
  // Entropies order the losses, but for two neighbours: 1 - 6 * 2 / (4 * 15).
  const std::vector<std::pair<double, double>> item{{1, 10}, {2, 30}, {3, 20}, {9, 90}};
  auto rows = rows_of("t", "t", {item, item, item, item, item});
  for (auto& row : rows) {  // another order, which is of the outputs
    row.entropy_pce = 10 - row.entropy_query;
  }
  const auto all = entropy_correlations(rows);
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].modes, 4);
  EXPECT_EQ(all[0].items, 5);
  EXPECT_NEAR(*all[0].nll.value, 0.8, 1e-12);
  EXPECT_NEAR(*all[0].nll.low, 0.8, 1e-12);  // items are alike
  EXPECT_FALSE(all[0].score.value.has_value());
  // An item that one mode lacks is left out; ties share their ranks.
  const auto more = entropy_correlations(
      rows_of("t", "t", {item, {{5, 0}, {1, 7}, {1, 9}}, {{1, 1}, {1, 1}, {2, 2}, {3, 3}}}));
  EXPECT_EQ(more[0].items, 2);
  EXPECT_TRUE(more[0].nll.value.has_value());
  EXPECT_FALSE(more[0].nll.low.has_value());  // of so few
}

TEST(PaperTables, AreUnweightedMeansOverTheTasksOfAGroup) {
  const std::vector<std::pair<double, double>> low{{1, 2}, {3, 4}}, high{{1, 4}, {3, 6}},
      other{{1, 7}, {3, 9}};
  auto rows = rows_of("a", "g", {low, high, low, high, low, high});
  const auto more = rows_of("b", "g", {other, other, other, other, other, other});
  rows.insert(rows.end(), more.begin(), more.end());
  const auto cells = group_cells(rows);
  ASSERT_EQ(cells.size(), 2u);
  EXPECT_EQ(cells[0].pieces, 1);
  EXPECT_EQ(cells[0].tasks, 2);
  EXPECT_NEAR(*cells[0].log_perplexity.value, (3 + 7) / 2.0, 1e-12);
  EXPECT_NEAR(*cells[1].log_perplexity.value, (5 + 9) / 2.0, 1e-12);
  EXPECT_TRUE(cells[1].log_perplexity.low.has_value());
  EXPECT_FALSE(cells[1].score.value.has_value());
  // Intervals are of as many outputs as there are.
  for (auto& row : rows) {
    if (row.id <= "3") {
      row.score = row.entropy_pce = 1;
    }
  }
  const auto few = group_cells(rows);
  EXPECT_EQ(few[0].score.value, 1.0);
  EXPECT_FALSE(few[0].score.low.has_value());
  EXPECT_FALSE(few[0].entropy.low.has_value());
  EXPECT_TRUE(few[0].log_perplexity.low.has_value());
}

TEST(TaskRow, FiguresAreMeansOverItemsAndTokens) {
  std::vector<ItemRow> items;
  const auto add = [&](const std::string& id, const std::string& mode, double nll, int64_t tokens,
                       double score) {
    ItemRow row;
    row.task = "t";
    row.id = id;
    row.mode = mode;
    row.reading = "all";
    row.pieces = mode == "full" ? 1 : 4;
    row.answer_nll = nll;
    row.answer_tokens = tokens;
    row.score = score;
    row.output = "";
    items.push_back(row);
  };
  add("a", "full", 1, 2, 1);
  add("a", "parallel", 3, 2, 0);
  add("b", "full", 4, 8, 1);
  add("b", "parallel", 8, 8, 1);
  add("c", "full", 100, 1, 0);  // in full only: no pair
  const auto rows = over_items(items);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].items, 3);
  EXPECT_NEAR(*rows[0].score.value, 2.0 / 3, 1e-12);
  EXPECT_FALSE(rows[0].score.minus_full.has_value());
  EXPECT_EQ(rows[1].items, 2);
  EXPECT_EQ(rows[1].answer_nll, 11);
  EXPECT_EQ(rows[1].answer_tokens, 10);
  EXPECT_NEAR(*rows[1].nll.value, 1.1, 1e-12);          // a mean over tokens
  EXPECT_NEAR(*rows[1].nll.minus_full, 0.6, 1e-12);     // of the items that have both
  EXPECT_NEAR(*rows[1].score.minus_full, -0.5, 1e-12);  // a mean over items
  EXPECT_FALSE(rows[1].score.minus_parallel.has_value());
  EXPECT_NEAR(rows[1].perplexity, std::exp(1.1), 1e-12);
}

}  // namespace
}  // namespace motet
