// Items of tasks, read in every mode: against the same done by hand with encode and Reader.

#include "motet/eval/tasks.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "motet/eval/tasks_run.h"
#include "motet/files/mapped.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/probe/entropy.h"
#include "motet/reading/registry.h"
#include "motet/report/tasks.h"
#include "motet/train/initial.h"
#include "temporary.h"

namespace motet {
namespace {

using Tokens = std::vector<int64_t>;

class TaskModes : public testing::Test {
 protected:
  TaskModes() : tokenizer_(Tokenizer::load(std::filesystem::path(MOTET_TEST_DATA) / "gpt2")) {
    auto config = load_config(std::filesystem::path(MOTET_GOLDEN) / "llama_default");
    config.vocabulary = 50257;
    config.positions = 200;
    model_ = initial_model(config, 3);
    const at::NoGradGuard no_grad;
    for (auto& parameter : model_->parameters()) {
      parameter.mul_(8);  // so that attention chooses
    }
    record_.task = "t";
    record_.id = "1";
    record_.units = {"One unit.", " Another one, which is longer.", " The third.",
                     " And a last one."};
    record_.query = "\nWhat is the answer";
    record_.answers = {"a word or two"};
    record_.gold = record_.answers[0];
    record_.gold_units = {2};
    record_.candidates = {"nothing", "a word or two", "a word or", "all"};
    record_.tokens = 5;
    options_.pieces = {1, 3, TasksOptions::kUnits, 9};
    options_.prefix = tokenizer_.encode("Read this: ").ids;
    options_.readings = {"select", "discount:1"};
    options_.full_length = true;
  }

  Tokens ids(const std::string& text) const { return tokenizer_.encode(text).ids; }
  std::vector<ItemRow> run(const TaskRecord& record, bool generate = true) const {
    const auto plan = plan_tasks(options_);
    const auto item = item_of(record, tokenizer_, model_->config(), options_, plan);
    return run_item(*model_, tokenizer_, item, options_, generate, "pce");
  }
  static const ItemRow& find(const std::vector<ItemRow>& rows, const std::string& mode,
                             int64_t pieces, bool prefix = false) {
    for (const auto& row : rows) {
      if (row.mode == mode && row.pieces == pieces && (row.prefix_tokens > 0) == prefix) {
        return row;
      }
    }
    fail("no row of ", mode, ", P = ", pieces);
  }

  Tokenizer tokenizer_;
  std::shared_ptr<Decoder> model_;
  TaskRecord record_;
  TasksOptions options_;
};

TEST_F(TaskModes, AnItemIsReadAsByHand) {
  const auto rows = run(record_);
  struct Case {
    const char* mode;
    int64_t pieces;
    std::vector<std::vector<int>> dealt;  // units of each piece
    bool prefix;
    const char* reading;
  };
  const std::vector<std::vector<int>> three{{0, 1}, {2}, {3}}, four{{0}, {1}, {2}, {3}};
  const Case cases[]{{"full", 1, {{0, 1, 2, 3}}, false, "all"},
                     {"parallel", 3, three, false, "all"},
                     {"sink", 3, three, true, "all"},
                     {"selective", 3, three, false, "select:2:heads+rows"},
                     {"both", 9, four, true, "select:2:heads+rows"},
                     {"discount", TasksOptions::kUnits, four, false, "discount:1"}};
  for (const auto& one : cases) {
    SCOPED_TRACE(one.mode);
    const auto& row = find(rows, one.mode, one.pieces, one.prefix);
    Tokens tokens = one.prefix ? options_.prefix : Tokens();
    const auto prefix = static_cast<int64_t>(tokens.size());
    std::vector<int64_t> lengths;
    for (const auto& piece : one.dealt) {
      lengths.push_back(0);
      for (const auto unit : piece) {
        const auto more = ids(record_.units[unit]);
        tokens.insert(tokens.end(), more.begin(), more.end());
        lengths.back() += static_cast<int64_t>(more.size());
      }
    }
    EXPECT_EQ(row.pieces_filled, static_cast<int64_t>(one.dealt.size()));
    const auto context = encode(*model_, tokens, make_layout(prefix, lengths));
    const auto reading = reading_named(one.reading);
    const auto nll_of = [&](const Tokens& gold) {
      Reader reader(*model_, context, *reading);
      auto hidden = reader.read(ids(record_.query)).slice(0, -1);
      if (gold.size() > 1) {
        hidden = torch::cat({hidden, reader.read(Tokens(gold.begin(), gold.end() - 1))});
      }
      const auto log_p = model_->logits(hidden).log_softmax(-1);
      return -log_p.gather(1, torch::tensor(gold).unsqueeze(1)).squeeze(1);
    };
    const auto nlls = nll_of(ids(" " + record_.gold));
    ASSERT_EQ(static_cast<int64_t>(row.answer_nlls.size()), nlls.numel());
    for (std::size_t i = 0; i < row.answer_nlls.size(); ++i) {
      EXPECT_NEAR(row.answer_nlls[i], nlls[i].item<double>(), 1e-4);  // fp32, other shapes
    }
    EXPECT_EQ(row.answer_tokens, nlls.numel());
    EXPECT_NEAR(row.answer_nll, nlls.sum().item<double>(), 5e-4);
    EXPECT_EQ(row.answer_greedy, [&] {
      const auto gold = ids(" " + record_.gold);
      Reader reader(*model_, context, *reading);
      auto hidden = reader.read(ids(record_.query)).slice(0, -1);
      hidden = torch::cat({hidden, reader.read(Tokens(gold.begin(), gold.end() - 1))});
      return torch::equal(model_->logits(hidden).argmax(-1), torch::tensor(gold));
    }());
    const auto ended = [&](const std::string& candidate) {  // one of them begins another
      auto tokens = ids(" " + candidate);
      tokens.push_back(ids("\n")[0]);
      return nll_of(tokens).sum().item<double>();
    };
    int64_t better = 1;
    double other = INFINITY;
    for (const auto& candidate : record_.candidates) {
      if (candidate != record_.gold) {
        other = std::min(other, ended(candidate));
        better += ended(candidate) <= ended(record_.gold) ? 1 : 0;
      }
    }
    EXPECT_EQ(row.candidate_rank, better);
    EXPECT_NEAR(*row.candidate_margin, other - ended(record_.gold), 1e-3);
    EntropyProbe entropy;
    Reader reader(*model_, context, *reading, {&entropy});
    auto hidden = reader.read(ids(record_.query));
    EXPECT_NEAR(row.entropy_query, entropy.entropy().mean().item<double>(), 1e-5);
    Tokens output;
    for (int64_t i = 0; i < record_.tokens; ++i) {
      output.push_back(model_->logits(hidden.slice(0, -1))[0].argmax().item<int64_t>());
      hidden = reader.read({output.back()});
    }
    EXPECT_EQ(row.output_ids, output);
    EXPECT_NEAR(*row.entropy_pce, entropy.mean_of_calls(), 1e-5);  // 1 + 5 calls
    EXPECT_NEAR(*row.entropy_tok, entropy.entropy().mean().item<double>(), 1e-5);
  }
}

TEST_F(TaskModes, CandidatesAreEndedWhereOneBeginsAnother) {
  const auto of = [&](const std::vector<std::string>& candidates) {
    record_.candidates = candidates;
    record_.gold = candidates[0];
    return item_of(record_, tokenizer_, model_->config(), options_, plan_tasks(options_))
        .candidates;
  };
  EXPECT_EQ(of({"a word", "all"}), (std::vector<Tokens>{ids(" a word"), ids(" all")}));
  EXPECT_NEAR(
      *item_of(record_, tokenizer_, model_->config(), options_, plan_tasks(options_)).record.depth,
      2.0 / 3, 1e-12);  // of unit 2 of 4
  record_.stop = {"."};
  EXPECT_EQ(of({"a word", "a", "all"}),
            (std::vector<Tokens>{ids(" a word."), ids(" a."), ids(" all.")}));
  // By itself "." is two tokens to SentencePiece.
  tokenizer_ = Tokenizer::load(std::filesystem::path(MOTET_TEST_DATA) / "tokenizers" / "llama2");
  const auto ended = of({"12", "1"});
  EXPECT_EQ(ended[0].back(), ids("x.").back());
  EXPECT_EQ(ended[1].back(), ids("x.").back());
  EXPECT_EQ(ids("x.").size(), 3u);
}

TEST_F(TaskModes, AnOutputEndsWhereItIsToldUnlessItIsOfFullLength) {
  const auto whole = find(run(record_), "full", 1);
  ASSERT_EQ(whole.output_ids.size(), 5u);
  options_.full_length = false;
  EXPECT_EQ(find(run(record_), "full", 1).output_ids, whole.output_ids);
  options_.end = {whole.output_ids[2]};
  const auto place =
      std::find(whole.output_ids.begin(), whole.output_ids.end(), whole.output_ids[2]);
  EXPECT_EQ(find(run(record_), "full", 1).output_ids, Tokens(whole.output_ids.begin(), place));
  options_.end = {};
  record_.stop = {whole.output->substr(3, 2)};
  const auto stopped = find(run(record_), "full", 1);
  EXPECT_EQ(*stopped.output, whole.output->substr(0, whole.output->find(record_.stop[0])));
  options_.full_length = true;
  EXPECT_EQ(find(run(record_), "full", 1).output, whole.output);
}

TEST_F(TaskModes, WithoutAnOutputThereAreLikelihoods) {
  const auto with = find(run(record_), "parallel", 3),
             without = find(run(record_, false), "parallel", 3);
  EXPECT_EQ(without.answer_nlls, with.answer_nlls);
  EXPECT_EQ(without.entropy_query, with.entropy_query);
  EXPECT_FALSE(without.score || without.output || without.entropy_pce || without.entropy_tok);
}

/// Shares of rows are between 0 and 1, and a piece that is everything has it all.
TEST_F(TaskModes, TellWhetherAttentionFindsTheGoldUnit) {
  const auto rows = run(record_, false);
  EXPECT_FALSE(find(rows, "full", 1).mass_gold.has_value());
  const auto& parallel = find(rows, "parallel", 3);
  EXPECT_NEAR(*parallel.gold_chance, 1.0 / 3, 1e-12);
  EXPECT_EQ(*parallel.kept_is_gold, 1);
  EXPECT_LE(*parallel.mass_gold, parallel.mass_top_piece);
  EXPECT_EQ(parallel.gold_heads->size(), 2u);
  EXPECT_EQ(parallel.gold_heads->at(0).size(), 4u);
  record_.gold_units = {0, 1, 2, 3};
  const auto every = run(record_, false);
  EXPECT_EQ(*find(every, "parallel", 3).best_is_gold, 1);
  EXPECT_EQ(find(every, "parallel", 3).gold_heads->at(1).at(2), 1);
  EXPECT_LT(*find(rows, "selective", 3).kept_is_gold, 1);  // two layers choose two of three
}

TEST_F(TaskModes, ItemsThatDoNotFitAreLeftOutByName) {
  const auto plan = plan_tasks(options_);
  EXPECT_EQ(plan.modes[0].name, "full");
  record_.units.resize(1);
  record_.gold_units = {0};
  const auto few = item_of(record_, tokenizer_, model_->config(), options_, plan);
  ASSERT_FALSE(few.left_out.empty());
  EXPECT_EQ(few.left_out[0].reason, "K = 2 is more than its 1 piece");
  record_.units.assign(40, " A unit of several words.");
  const auto item = item_of(record_, tokenizer_, model_->config(), options_, plan);
  EXPECT_EQ(item.left_out[0].mode, "full");
  EXPECT_EQ(item.left_out[0].reason, "it needs 250 positions, the model has 200");
  EXPECT_TRUE(std::any_of(item.modes.begin(), item.modes.end(),
                          [](const Mode& mode) { return mode.name == "parallel"; }));
  record_.units = {"A unit."};
  record_.candidates = {record_.gold, ""};
  for (int i = 0; i < 200; ++i) {
    record_.candidates[1] += "on and ";
  }
  const auto wide = item_of(record_, tokenizer_, model_->config(), options_, plan);
  EXPECT_TRUE(wide.modes.empty());  // a candidate needs more positions than there are
  record_.units.assign(40, " A unit of several words.");
  record_.candidates = {};
  record_.depth = 0;
  options_.truncate = true;
  const auto cut = item_of(record_, tokenizer_, model_->config(), options_, plan);
  EXPECT_EQ(cut.modes[0].name, "full");
  EXPECT_EQ(cut.dropped, 9);
  EXPECT_EQ(cut.units.size(), 31u);
  EXPECT_TRUE(cut.record.gold_units.empty());  // it was in what is left out
  EXPECT_TRUE(cut.gold_dropped);
  EXPECT_FALSE(cut.record.depth.has_value());
  record_.query = "";
  EXPECT_EQ(message([&] { item_of(record_, tokenizer_, model_->config(), options_, plan); }),
            "the item 1 of the task t: its query has no tokens");
}

TEST_F(TaskModes, ARunIsReadBackAsItWasWritten) {
  TasksRun run;
  run.tasks = {"record:x"};
  run.options = options_;
  run.items = run.items_there = 2;
  run.item_rows = this->run(record_);
  record_.id = "2";
  const auto more = this->run(record_, false);
  run.item_rows.insert(run.item_rows.end(), more.begin(), more.end());
  run.items_left_out = {{"t", "3", "full", 1, "it is long"}};
  const TemporaryDirectory directory;
  save_run(run, directory / "run.json");
  const auto back = load_tasks_run(directory / "run.json");
  EXPECT_EQ(json_of(back), json_of(run));
  auto items = json_of(run);
  items.erase("rows");
  items.erase("correlations");
  EXPECT_EQ(json_of(run, TasksPart::kItems), items);
  const auto json = json_of(run);
  const auto& row = json["rows"][1];
  EXPECT_EQ(row["mode"], "parallel");
  EXPECT_EQ(row["items"], 2);
  EXPECT_EQ(row["outputs"], 1);
  for (const auto* name : {"score", "score_low", "score_minus_full_high", "nll_minus_parallel"}) {
    EXPECT_TRUE(row.contains(name)) << name;
  }
  EXPECT_NE(csv_of({run}).find(",nll_minus_full_low,"), std::string::npos);
  EXPECT_NE(table_of(run).find("selective"), std::string::npos);
}

TEST_F(TaskModes, ATableThatIsWideStandsInBlocks) {
  TasksRun run;
  for (const auto* id : {"1", "2", "3", "4", "5"}) {  // so many that there are intervals
    record_.id = id;
    const auto rows = this->run(record_);
    run.item_rows.insert(run.item_rows.end(), rows.begin(), rows.end());
  }
  std::istringstream table(table_of(run));
  std::vector<std::string> headings;
  std::map<std::string, int> lines;
  for (std::string line; std::getline(table, line);) {
    EXPECT_LE(line.size(), 120U) << line;
    if (line.starts_with("mode ")) {
      headings.push_back(line);
    }
    ++lines[line.substr(0, line.find(' '))];
  }
  ASSERT_GE(headings.size(), 2U);
  EXPECT_NE(headings[0].find(" nll - full"), std::string::npos);
  EXPECT_EQ(headings[1].find(" nll"), std::string::npos);
  EXPECT_NE(headings.back().find("  entropy"), std::string::npos);
  EXPECT_EQ(lines["sink"], static_cast<int>(3 * headings.size()));  // of three degrees
}

TEST_F(TaskModes, APageShowsOutputsOfTheFirstItems) {
  TasksRun run;
  for (const auto* id : {"1", "2", "3", "4"}) {
    record_.id = id;
    const auto rows = this->run(record_, *id != '2');
    run.item_rows.insert(run.item_rows.end(), rows.begin(), rows.end());
  }
  run.item_rows[0].output = "a<b\n" + std::string(58, 'x');
  run.item_rows[0].score = 0.5;
  auto page = html_of(run);
  EXPECT_NE(page.find("<th class=\"word\">1: " + record_.answers[0]), std::string::npos);
  EXPECT_EQ(page.find(">2: "), std::string::npos);  // it has no output
  EXPECT_NE(page.find(">4: "), std::string::npos);
  EXPECT_NE(page.find(">0.5: a&lt;b↵" + std::string(56, 'x') + "…<"), std::string::npos);
  for (auto& row : run.item_rows) {
    row.output.reset();
  }
  page = html_of(run);
  EXPECT_EQ(page.find("Outputs"), std::string::npos);
}

}  // namespace
}  // namespace motet
