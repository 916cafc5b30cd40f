// motet-eval, run as a user runs it.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "motet/report/tasks.h"
#include "program/program.h"
#include "temporary.h"

namespace motet {
namespace {

using nlohmann::json;

class Eval : public ProgramTest {
 protected:
  Eval() : ProgramTest(MOTET_EVAL, 400, 0) {}

  /// The document, but for times.
  static json document(const std::string& out) {
    auto run = json::parse(read_file(out + "/run.json"));
    for (const auto* rows : {"rows", "item_rows"}) {
      for (auto& row : run[rows]) {
        row.erase("encode_seconds");
        row.erase("read_seconds");
      }
    }
    run["command"].erase(run["command"].size() - 1);  // --out's folder
    return run;
  }
};

TEST_F(Eval, KilledAndResumedIsTheSameRun) {
  const std::vector<std::string> words{
      "--tasks", "kv:pairs=4,niah,vt", "--length", "320",          "--items",
      "8",       "--pieces",           "1,4",      "--full-length"};
  auto resumed = words;
  resumed.insert(resumed.end(), {"--resume", "--out", out_});
  std::filesystem::create_directory(out_);
  const WatchedSaves saves(out_);
  ASSERT_EQ(saves.stop(Process(directory_.path(), command(resumed)), 4, SIGKILL).code, -SIGKILL);
  const auto partial = load_tasks_run(out_ + "/run.json");
  EXPECT_FALSE(partial.complete());
  EXPECT_FALSE(json::parse(read_file(out_ + "/run.json")).contains("rows"));  // while it goes on
  const auto done = partial.done().size();
  EXPECT_GE(done, 3u);
  ASSERT_LT(done, 24u);
  const auto outcome = run(resumed);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err.find(fmt::format("{} of 24 items to do", 24 - done)), 0u) << outcome.err;
  auto whole = words;
  whole.insert(whole.end(), {"--out", directory_ / "whole"});
  ASSERT_EQ(run(whole).code, 0);
  EXPECT_EQ(document(out_), document(directory_ / "whole"));
  EXPECT_TRUE(load_tasks_run(out_ + "/run.json").complete());
}

TEST_F(Eval, ItemsMayGrowAndNothingElseMayChange) {
  const auto with = [&](const std::string& items, const std::vector<std::string>& more = {}) {
    std::vector<std::string> words{"--tasks", "kv:pairs=4", "--items", items,   "--pieces",
                                   "2",       "--outputs",  "1",       "--out", out_};
    words.insert(words.end(), more.begin(), more.end());
    return run(words);
  };
  ASSERT_EQ(with("2").code, 0);
  const auto two = load_tasks_run(out_ + "/run.json");
  ASSERT_EQ(with("3", {"--resume"}).code, 0);
  const auto three = load_tasks_run(out_ + "/run.json");
  ASSERT_EQ(three.item_rows.size(), two.item_rows.size() / 2 * 3);
  EXPECT_EQ(three.item_rows[0].output_ids, two.item_rows[0].output_ids);
  EXPECT_TRUE(three.item_rows[0].score.has_value());
  EXPECT_FALSE(three.item_rows.back().score.has_value());  // --outputs 1
  EXPECT_EQ(with("2", {"--resume", "--quiet"}).err,
            "motet-eval: " + out_ +
                "/run.json: has 3 items of each task, this command 2; --items may only grow\n");
  EXPECT_NE(with("3", {"--resume", "--seed", "1"}).err.find("is a run with another seed"),
            std::string::npos);
  EXPECT_NE(with("3").err.find(": holds a run already"), std::string::npos);
}

TEST_F(Eval, AnItemThatIsNotWholeIsReadAgain) {
  std::vector<std::string> words{"--tasks", "kv:pairs=4", "--items", "2",     "--pieces",
                                 "2",       "--outputs",  "0",       "--out", out_};
  ASSERT_EQ(run(words).code, 0);
  const auto whole = document(out_);
  auto damaged = json::parse(read_file(out_ + "/run.json"));
  damaged["item_rows"].erase(1);
  write_file(out_ + "/run.json", damaged.dump());
  for (const auto* name :
       {"/run.json.partial-17", "/own.partial-1"}) {  // the first of a killed one
    write_file(out_ + name, "x");
  }
  words.push_back("--resume");
  const auto outcome = run(words);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("/run.json does not have one row of each of 3 modes of the item 0 of "
                             "the task kv:pairs=4: it is read again"),
            std::string::npos)
      << outcome.err;
  auto again = document(out_);
  EXPECT_EQ(again["rows"].size(), whole["rows"].size());
  EXPECT_EQ(again["rows"][0]["nll"], whole["rows"][0]["nll"]);
  EXPECT_FALSE(std::filesystem::exists(out_ + "/run.json.partial-17"));
  EXPECT_TRUE(std::filesystem::exists(out_ + "/own.partial-1"));
  damaged["item_rows"][0]["answer_nlls"].push_back(1);
  write_file(out_ + "/run.json", damaged.dump());
  EXPECT_NE(run(words).err.find(" tokens in its answer, and likelihoods of "), std::string::npos);
}

TEST_F(Eval, SelectAsksForSelection) {
  const auto outcome = run({"--tasks", "kv:pairs=4", "--items", "1", "--outputs", "0", "--pieces",
                            "4", "--readings", "discount:1", "--select", "3", "--quiet"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const auto* mode : {"\nselect(K=3, ", "\ndiscount(c=1)"}) {
    EXPECT_NE(outcome.out.find(mode), std::string::npos) << mode << outcome.out;
  }
}

TEST_F(Eval, SaysWhereItemsAreLongerAndShowsAPrompt) {
  const auto outcome =
      run({"--tasks", "kv:pairs=4", "--length", "100", "--items", "1", "--show-prompt"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err.find("note: items of kv:pairs=4 have up to "), 0u) << outcome.err;
  EXPECT_NE(outcome.err.find("more than --length 100: the task's own options say how many"),
            std::string::npos);
  EXPECT_EQ(outcome.out.find("kv:pairs=4, item 0, "), 0u) << outcome.out;
  for (const auto* part : {"[prefix, of sink and both]\nAnswer the question", "[unit 3]\n",
                           "[query]\n", "[gold answer, whose likelihood is measured]\n "}) {
    EXPECT_NE(outcome.out.find(part), std::string::npos) << part << outcome.out;
  }
  EXPECT_FALSE(std::filesystem::exists(out_));
}

/// The message's opening stands before everything, in every mode; the query's last line begins the
/// answer, and without one the answer has no space before it.
TEST_F(Eval, ItemsStandInAChat) {
  std::filesystem::remove_all(model_);
  std::filesystem::create_directory(model_);
  write_published_gpt2(model_, 400, 50259);
  write_file(model_ + "/added_tokens.json",
             json{{"<|im_start|>", 50257}, {"<|im_end|>", 50258}}.dump());
  const std::string records = directory_ / "records.jsonl";
  const json item{{"task", "own"},
                  {"id", "a"},
                  {"units", {"One. ", "Two. "}},
                  {"query", "\nWhich of them?\nThis:"},
                  {"answers", {"one"}},
                  {"score", "found"},
                  {"tokens", 2}};
  auto other = item;
  other["id"] = "b";
  other["query"] = "\nWhich?";  // nothing is asked before its last line
  // The same by hand.
  auto hand = item, hand_other = other;
  for (auto* one : {&hand, &hand_other}) {
    (*one)["lead"] = "<|im_start|>system\nBe\nbrief.<|im_end|>\n<|im_start|>user\n";
  }
  hand["query"] = "\nWhich of them?<|im_end|>\n<|im_start|>assistant\nThis:";
  hand_other["query"] = "\nWhich?<|im_end|>\n<|im_start|>assistant\n";
  hand_other["space"] = false;
  const auto rows = [&](const std::vector<json>& lines, const std::vector<std::string>& more) {
    std::string text;
    for (const auto& line : lines) {
      text += line.dump() + "\n";
    }
    write_file(records, text);
    std::vector<std::string> words{"--tasks", "record:" + records, "--pieces", "2", "--out",
                                   out_,      "--overwrite",       "--quiet"};
    words.insert(words.end(), more.begin(), more.end());
    const auto outcome = run(words);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return load_tasks_run(out_ + "/run.json");
  };
  const auto in_chat = rows({item, other}, {"--chat", "--system", "Be\\nbrief."});
  const auto by_hand = rows({hand, hand_other}, {});
  ASSERT_EQ(in_chat.item_rows.size(), by_hand.item_rows.size());
  for (std::size_t i = 0; i < by_hand.item_rows.size(); ++i) {
    EXPECT_EQ(in_chat.item_rows[i].prompt_hash, by_hand.item_rows[i].prompt_hash);
    EXPECT_EQ(in_chat.item_rows[i].answer_nlls, by_hand.item_rows[i].answer_nlls);
    EXPECT_EQ(in_chat.item_rows[i].layout, "record, chat");
  }
  EXPECT_EQ(in_chat.chat, "<|im_start|>system\nBe\nbrief.<|im_end|>\n<|im_start|>user\n");
  EXPECT_FALSE(by_hand.chat.has_value());
  expect_error({"--tasks", "niah", "--system", "a"}, 2, "--system requires --chat");
}

TEST_F(Eval, RecordsAreReadAndWhatIsLeftOutIsSaid) {
  const std::string records = directory_ / "records.jsonl";
  std::string text;
  for (const auto& [id, units] : {std::pair{"short", 3}, {"long", 90}}) {
    auto list = json::array();
    for (int i = 0; i < units; ++i) {
      list.push_back(fmt::format("Unit {} of many. ", i));
    }
    text += json{{"task", "own"},    {"id", id},         {"units", list}, {"query", "Which?"},
                 {"answers", {"1"}}, {"score", "found"}, {"tokens", 4},   {"note", "x"}}
                .dump() +
            "\n";
  }
  write_file(records, text);
  const auto outcome =
      run({"--tasks", "record:" + records, "--items", "5", "--pieces", "2,units", "--out", out_});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("note: " + records +
                             ": fields that no record has are not read: note\n"
                             "note: the task own has 2 items, not 5\n"
                             "left out: selective, P = 2: K = 2 keeps all of 2 pieces\n"),
            std::string::npos)
      << outcome.err;
  EXPECT_NE(outcome.err.find("left out: own long, full, P = 1: it needs "), std::string::npos);
  const auto rows = over_items(load_tasks_run(out_ + "/run.json").item_rows);
  EXPECT_EQ(rows[0].mode, "full");
  EXPECT_EQ(rows[0].items, 1);
  for (const auto* picture : {"task-scores", "task-entropy", "task-entropy-score"}) {
    EXPECT_TRUE(std::filesystem::exists(out_ + "/pictures/" + picture + ".png")) << picture;
  }
  EXPECT_NE(read_file(out_ + "/index.html").find("<h3>Score x 100</h3>"), std::string::npos);
  EXPECT_EQ(
      run({"--tasks", "record:" + records, "--pieces", "2", "--truncate", "units", "--quiet"}).code,
      0);
  const auto twice = "record:" + records;
  expect_error(
      {"--tasks", twice + "," + twice, "--quiet"}, 1,
      fmt::format("the tasks '{0}' and '{0}' would both be 'own' in the results, and joined; "
                  "{0}:name=NAME gives the second a name of its own",
                  twice));
}

TEST_F(Eval, ATaskOfOnesOwnIsLoaded) {
  const auto outcome = run({"--load", MOTET_OWN_TASK, "--tasks", "sums:terms=2", "--items", "2",
                            "--pieces", "2", "--readings", "discount:1", "--quiet"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("\nsums:terms=2"), std::string::npos) << outcome.out;
}

TEST_F(Eval, CommandLineErrors) {
  expect_error({}, 2, "--tasks is required");
  expect_error({"--tasks", "kv", "--pieces", "0"}, 2,
               "--pieces 0: a degree of at least 1, or `units`, is wanted");
  expect_error({"--tasks", "kv", "--pieces", "2,2"}, 2, "--pieces: the degree 2 is given twice");
  expect_error({"--tasks", "kv", "--items", "0"}, 2, "--items 0: a number of items is wanted");
  expect_error({"--tasks", "kv", "--length", "0"}, 2, "--length 0: a number of tokens is wanted");
  expect_error({"--tasks", "kv", "--readings", "all"}, 2,
               "--readings all: parallel and sink read all already");
  expect_error({"--tasks", "kv", "--layout", "ruler"}, 2, "--layout: ruler not in {pce,helmet}");
  const auto unknown = run({"--tasks", "nia"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_EQ(unknown.err.find("motet-eval: the task 'nia': no such name; there are record:FILE"),
            0u);
  expect_error({"--tasks", "record:none.jsonl"}, 1,
               "none.jsonl: cannot be opened: No such file or directory");
}

}  // namespace
}  // namespace motet
