// motet-compare, run as a user runs it.

#include "program/compare.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <torch/types.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "motet/attention/kernel.h"
#include "motet/eval/compare_run.h"
#include "motet/files/lock.h"
#include "motet/files/safetensors.h"
#include "motet/report/json.h"
#include "motet/version.h"

namespace motet {
namespace {

using nlohmann::json;

TEST_F(Compare, RunsOnGpt2AsPublished) {
  const auto outcome = run(small_);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("\nboth       4"), std::string::npos) << outcome.out;
  EXPECT_NE(outcome.out.find("Results: " + out_ + "/run.json\n"), std::string::npos);
  const auto document = json::parse(read_file(out_ + "/run.json"));
  EXPECT_TRUE(document["complete"].get<bool>());
  EXPECT_EQ(document["rows"].size(), 7u);
  EXPECT_EQ(document["segment_rows"].size(), 14u);
  EXPECT_EQ(document["kernel"], kernel_name());
  EXPECT_EQ(document["dtype"], "float32");
  EXPECT_EQ(document["threads"], 1);
  EXPECT_EQ(document["command"][0], "motet-compare");
  EXPECT_EQ(document["data"]["hash"], sha256(read_file(text_)));
  EXPECT_EQ(document["model"]["hash"].get<std::string>().size(), 64u);
  EXPECT_EQ(document["configuration"]["prefix"].size(), 14u);
  for (const auto& row : document["rows"]) {
    EXPECT_GT(row["peak_bytes"].get<int64_t>(), 0);
    EXPECT_EQ(row["segments"], 2);
    EXPECT_EQ(row["tokens"], 24);
  }
}

TEST_F(Compare, LeavesOutAndSaysSo) {
  const auto outcome = run(
      {"--length", "100", "--scored", "20", "--segments", "1", "--pieces", "1,2,4", "--out", out_});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("left out: full, P = 1: it needs 99 positions, the model has 64\n"),
            std::string::npos);
  const auto document = json::parse(read_file(out_ + "/run.json"));
  EXPECT_EQ(document["left_out"][0], (json{{"mode", "full"},
                                           {"pieces", 1},
                                           {"reason", "it needs 99 positions, the model has 64"}}));
  for (const auto& row : document["rows"]) {
    for (const auto* field : {"delta_nll", "delta_stderr", "kl", "same_top1"})
      EXPECT_TRUE(row[field].is_null());
  }
  EXPECT_NE(outcome.out.find(" -  "), std::string::npos);
}

TEST_F(Compare, SkippedSegmentsKeepTheirNumbers) {
  ASSERT_EQ(run(small_).code, 0);
  const auto all = load_run(out_ + "/run.json");
  ASSERT_EQ(run({"--length", "48", "--scored", "12", "--segments", "1", "--skip", "1", "--pieces",
                 "1,2,4", "--out", out_, "--overwrite"})
                .code,
            0);
  const auto second = load_run(out_ + "/run.json");
  EXPECT_EQ(second.segments_done(), (std::vector<int64_t>{1}));
  for (std::size_t i = 0; i < 7; ++i) {
    EXPECT_EQ(second.segment_rows[i].nll, all.segment_rows[7 + i].nll);
  }
}

/// A run's figures, without what differs from one time to the next.
json figures(const CompareRun& run) {
  auto document = json_of(run);
  for (const auto* rows : {"rows", "segment_rows"}) {
    for (auto& row : document[rows]) {
      for (const auto* field : {"encode_seconds", "read_seconds", "peak_bytes"}) row.erase(field);
    }
  }
  document.erase("command");
  return document;
}

TEST_F(Compare, AnInterruptedRunIsValidAndGoesOn) {
  const std::vector<std::string> many{"--length",   "24", "--scored", "6",
                                      "--segments", "60", "--pieces", "1,2,3"};
  auto words = many;
  words.insert(words.end(), {"--out", out_});
  std::filesystem::create_directory(out_);
  const WatchedSaves saves(out_);
  const Process process(directory_.path(), command(words));
  const auto outcome = saves.stop(process, 3, SIGINT);  // the empty run, and two segments
  EXPECT_EQ(outcome.code, 1);
  const auto partial = load_run(out_ + "/run.json");
  const auto done = partial.segments_done().size();
  EXPECT_GE(done, 2u);
  ASSERT_LT(done, 60u);
  EXPECT_FALSE(partial.complete());
  EXPECT_NE(
      outcome.err.find("motet-compare: interrupted; " + std::to_string(done) +
                       " of 60 segments are in " + out_ + "/run.json; --resume goes on with it\n"),
      std::string::npos)
      << outcome.err;
  for (const auto& entry : std::filesystem::directory_iterator(out_)) {
    EXPECT_EQ(entry.path().filename(), "run.json");
  }
  expect_error(words, 1,
               out_ + ": holds a run already; --resume goes on with it, --overwrite replaces it");
  words.push_back("--resume");
  ASSERT_EQ(run(words).code, 0);
  const auto resumed = load_run(out_ + "/run.json");
  EXPECT_TRUE(resumed.complete());
  auto whole = many;
  whole.insert(whole.end(),
               {"--out", directory_ / "whole", "--resume"});  // starts where there is nothing
  ASSERT_EQ(run(whole).code, 0);
  EXPECT_EQ(figures(resumed), figures(load_run(directory_ / "whole/run.json")));
}

TEST_F(Compare, ResumeRefusesAnotherRun) {
  ASSERT_EQ(run(small_).code, 0);
  const auto outcome = run({"--length", "50", "--scored", "12", "--segments", "2", "--pieces",
                            "1,2,4", "--out", out_, "--resume"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(outcome.err.substr(0, outcome.err.find(": it has")),
            "motet-compare: " + out_ + "/run.json: is a run with another configuration, length");
}

TEST_F(Compare, OneProgramAtATime) {
  ASSERT_EQ(run(small_).code, 0);
  const auto before = read_file(out_ + "/run.json");
  {
    const DirectoryLock at_work(out_);  // as another program
    for (const auto* how : {"--resume", "--overwrite"}) {
      expect_error(small({"--quiet", how}), 1,
                   out_ +
                       ": another process is at work in it; wait, stop that one first, or "
                       "choose another directory");
    }
  }
  EXPECT_EQ(read_file(out_ + "/run.json"), before);
  EXPECT_EQ(run(small({"--overwrite"})).code, 0);
}

TEST_F(Compare, RunsWithTheKernelOfTheEnvironment) {
  const auto run_with = [&](const std::string& kernel) {
    auto words = command(small({"--overwrite"}));
    words.insert(words.begin(), {"/usr/bin/env", "MOTET_KERNEL=" + kernel});
    return Process(directory_.path(), words).wait();
  };
  EXPECT_EQ(run_with("portable").code, 0);
  const auto portable = json::parse(read_file(out_ + "/run.json"));
  EXPECT_EQ(portable["kernel"], "portable");
  ASSERT_EQ(run(small({"--overwrite"})).code, 0);
  const auto best = json::parse(read_file(out_ + "/run.json"));
  for (std::size_t i = 0; i < best["rows"].size(); ++i) {
    for (const auto* figure : {"nll", "entropy_tok", "entropy_between", "mass_own"}) {
      EXPECT_NEAR(best["rows"][i][figure].get<double>(), portable["rows"][i][figure].get<double>(),
                  1e-5);
    }
  }
  const auto outcome = run_with("abacus");
  EXPECT_EQ(outcome.code, 1);
  std::string known;
  for (const auto kernel : kernels()) {
    known += (known.empty() ? "" : ", ") + std::string(kernel);
  }
  EXPECT_EQ(outcome.err,
            "motet-compare: MOTET_KERNEL=abacus: no such kernel; there are " + known + "\n");
}

/// Bits depend on what makes products: a run goes on with the same ones, or not at all.
TEST_F(Compare, ARunHasOneWayOfMakingProducts) {
  const auto run_with = [&](const std::string& products, const std::vector<std::string>& more) {
    auto words = command(small(more));
    words.insert(words.begin(), {"/usr/bin/env", "MOTET_PRODUCTS=" + products});
    return Process(directory_.path(), words).wait();
  };
  EXPECT_EQ(run_with("libtorch/wide", {}).code, 0);
  EXPECT_EQ(json::parse(read_file(out_ + "/run.json"))["products"], "libtorch/wide, rule 2");
  EXPECT_EQ(run_with("libtorch/wide", {"--resume"}).code, 0);
  const auto other = run_with("libtorch/native", {"--resume"});
  EXPECT_EQ(other.code, 1);
  EXPECT_EQ(other.err, "motet-compare: " + out_ +
                           "/run.json: is a run with another products: it has \"libtorch/wide, "
                           "rule 2\", this command has \"libtorch/native, rule 2\"; "
                           "MOTET_PRODUCTS says which, or choose another --out\n");
  const auto unknown = run_with("abacus", {"--overwrite"});
  EXPECT_EQ(unknown.code, 1);
  EXPECT_EQ(unknown.err.find("motet-compare: MOTET_PRODUCTS=abacus: no such products; there are "
                             "libtorch/wide, libtorch/native"),
            0)
      << unknown.err;
}

TEST_F(Compare, SavesStatisticsAndGoesOnWithThem) {
  const auto path = std::filesystem::path(out_) / "stats.safetensors";
  ASSERT_EQ(run(small({"--save-stats"})).code, 0);
  const auto whole = SafeTensors::open(path);
  EXPECT_EQ(whole.tensor("1/both/4/entropy").sizes(), (std::vector<int64_t>{2, 2, 12}));
  // A run whose second segment is still to do keeps the first one's.
  auto one = load_run(out_ + "/run.json");
  std::erase_if(one.segment_rows, [](const CompareRow& row) { return *row.segment == 1; });
  save_run(one, out_ + "/run.json");
  const auto first = whole.tensor("0/both/4/entropy").clone();
  ASSERT_EQ(run(small({"--save-stats", "--resume"})).code, 0);
  const auto again = SafeTensors::open(path);
  EXPECT_EQ(again.names(), whole.names());
  EXPECT_TRUE(torch::equal(again.tensor("0/both/4/entropy"), first));
  expect_error(small({"--resume"}), 1,
               out_ + ": the run that is to go on was begun with --save-stats; give it, too");
  // Nothing of a run that is replaced stays beside the new one.
  ASSERT_EQ(run(small({"--overwrite"})).code, 0);
  EXPECT_FALSE(std::filesystem::exists(path));
  expect_error(small({"--save-stats", "--resume"}), 1,
               out_ +
                   ": the run that is to go on was begun without --save-stats; leave it out, or "
                   "begin anew with --overwrite");
  expect_error({"--length", "48", "--scored", "12", "--segments", "1", "--save-stats"}, 2,
               "--save-stats needs --out DIR");
}

TEST_F(Compare, OverwriteTouchesNothingButARun) {
  const std::filesystem::path pictures = std::filesystem::path(out_) / "pictures";
  std::filesystem::create_directories(pictures);
  for (const auto* name : {"mine.svg", "notes.txt"}) write_file(pictures / name, "mine");
  ASSERT_EQ(run(small({"--overwrite"})).code, 0);  // what it finds is no run
  EXPECT_EQ(read_file(pictures / "mine.svg"), "mine");
  write_file(pictures / "diagnosis.svg", "of a run");
  ASSERT_EQ(run(small({"--overwrite"})).code, 0);
  EXPECT_FALSE(std::filesystem::exists(pictures / "diagnosis.svg"));
  EXPECT_EQ(read_file(pictures / "notes.txt"), "mine");
}

TEST_F(Compare, ARunOfAnotherProgramIsNamed) {
  ASSERT_EQ(run(small_).code, 0);
  const std::string path = out_ + "/run.json";
  auto document = json::parse(read_file(path));
  document["program"] = "motet-heads";
  write_file(path, document.dump());
  expect_error(small({"--resume"}), 1,
               path +
                   ": is a run with another program: it has \"motet-heads\", this command has "
                   "\"motet-compare\"; choose another --out");
  EXPECT_EQ(message([&] { load_run(path); }),
            path + ": is a run of motet-heads, not of motet-compare");
}

TEST_F(Compare, SegmentsNeverCrossTexts) {
  const auto book = read_file(text_);
  const std::string folder = directory_ / "texts";
  std::filesystem::create_directories(folder + "/more");
  write_file(folder + "/b.txt", book.substr(0, 300));
  write_file(folder + "/more/a.jsonl", json(book.substr(300, 300)).dump() + "\n\n" +
                                           json{{"id", 3}, {"body", book.substr(600, 300)}}.dump() +
                                           "\n");
  write_file(folder + "/notes.md", "not read");
  const std::vector<std::string> options{"--length", "48",       "--scored", "12",    "--segments",
                                         "3",        "--pieces", "1,2",      "--out", out_,
                                         "--field",  "body",     "--text",   folder};
  const auto with_text = [&](std::vector<std::string> words) {
    words.insert(words.begin(), {MOTET_COMPARE, "--model", model_, "--threads", "1"});
    return Process(directory_.path(), words).wait();
  };
  const auto outcome = with_text(options);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto all = load_run(out_ + "/run.json");
  EXPECT_EQ(all.provenance.data.name, "texts (3 texts)");
  // What each text gives by itself, in the order of their names: about 70 tokens, one segment.
  std::vector<double> expected;
  const std::vector<std::pair<std::size_t, std::size_t>> parts{{0, 300}, {300, 300}, {600, 300}};
  for (const auto& [first, length] : parts) {
    write_file(text_, book.substr(first, length));
    ASSERT_EQ(run({"--length", "48", "--scored", "12", "--segments", "1", "--pieces", "1,2",
                   "--out", directory_ / "one", "--overwrite"})
                  .code,
              0);
    for (const auto& row : load_run(directory_ / "one/run.json").segment_rows) {
      expected.push_back(row.nll);
    }
  }
  std::vector<double> found;
  for (const auto& row : all.segment_rows) found.push_back(row.nll);
  EXPECT_EQ(found, expected);  // one segment of each, three modes
  auto short_field = options;
  short_field[short_field.size() - 3] = "text";
  EXPECT_EQ(with_text(short_field).err,
            "motet-compare: " + folder +
                "/more/a.jsonl:3: has no field 'text'; --field names the one that holds the "
                "text\n");
}

TEST_F(Compare, BosComesFirstInEveryMode) {
  ASSERT_EQ(run(small({"--bos"})).code, 0);
  const auto with = load_run(out_ + "/run.json");
  EXPECT_EQ(with.options.bos, (std::vector<int64_t>{50256}));  // GPT-2's <|endoftext|>
  ASSERT_EQ(run(small({"--overwrite"})).code, 0);
  const auto without = load_run(out_ + "/run.json");
  for (std::size_t i = 0; i < with.segment_rows.size(); ++i) {
    const auto &a = with.segment_rows[i], &b = without.segment_rows[i];
    EXPECT_EQ(label_of(a), label_of(b));
    EXPECT_EQ(a.prefix_tokens, b.prefix_tokens);
    EXPECT_GT(a.mass_prefix, b.mass_prefix);  // of BOS, and of the prefix where there is one
  }
}

TEST_F(Compare, ConfigRepeatsARun) {
  ASSERT_EQ(run(small({"--readings", "soft:0.5"})).code, 0);
  const auto first = load_run(out_ + "/run.json");
  const auto repeat = [&](std::vector<std::string> more) {
    std::vector<std::string> words{MOTET_COMPARE, "--config",           out_ + "/run.json",
                                   "--out",       directory_ / "again", "--overwrite"};
    words.insert(words.end(), more.begin(), more.end());
    return Process(directory_.path(), words).wait();
  };
  const auto again = repeat({});
  ASSERT_EQ(again.code, 0) << again.err;
  EXPECT_EQ(figures(load_run(directory_ / "again/run.json")), figures(first));
  // What stands beside it comes before what it says, and the whole command is recorded.
  ASSERT_EQ(repeat({"--segments", "1"}).code, 0);
  const auto shorter = load_run(directory_ / "again/run.json");
  EXPECT_EQ(shorter.options.segments, 1);
  EXPECT_EQ(shorter.options.readings, (std::vector<std::string>{"soft:0.5"}));
  EXPECT_NE(
      std::find(shorter.provenance.command.begin(), shorter.provenance.command.end(), "soft:0.5"),
      shorter.provenance.command.end());
  write_file(text_, read_file(text_) + "more");
  EXPECT_NE(repeat({}).err.find("note: the text is not that of " + out_ + "/run.json"),
            std::string::npos);
  write_file(directory_ / "other.json", "{}");
  expect_error({"--config", directory_ / "other.json"}, 1,
               (directory_ / "other.json").string() + ": is no run.json; it has no 'command'");
  write_file(directory_ / "other.json", R"({"command": ["motet-compare", 1]})");
  expect_error({"--config", directory_ / "other.json"}, 1,
               (directory_ / "other.json").string() + ": is no run.json; it has no 'command'");
}

TEST_F(Compare, APictureOfManyRowsIsDrawn) {
  const auto outcome = run(small({"--rows", "0,1,2,3,4,5,6,7,8,9,10,11", "--readings",
                                  "select,soft:1,soft:2,soft:3,soft:4,soft:5"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(std::filesystem::exists(out_ + "/index.html"));
  EXPECT_TRUE(std::filesystem::exists(out_ + "/pictures/attention.png"));
}

TEST_F(Compare, ANameThatIsNotUtf8LosesNothing) {
  ASSERT_EQ(run(small({})).code, 0);
  const auto before = read_file(out_ + "/run.json");
  const auto odd = (directory_ / "caf\xe9.txt").string();
  write_file(odd, read_file(text_));
  auto words = command(small({"--overwrite"}));
  *std::find(words.begin(), words.end(), text_) = odd;
  const auto outcome = Process(directory_.path(), words).wait();
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("is not UTF-8, which results cannot hold; rename the file"),
            std::string::npos)
      << outcome.err;
  EXPECT_EQ(read_file(out_ + "/run.json"), before);
}

TEST_F(Compare, OraclesDiagnosisAndRowsAreInTheRun) {
  const auto outcome = run(small({"--oracle", "both,values:1", "--diagnose", "--rows", "0,11",
                                  "--ablate", "0.1", "--ablate-by", "own", "--save-stats"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto document = json::parse(read_file(out_ + "/run.json"));
  EXPECT_EQ(document["configuration"]["oracles"], (json{"both", "values:1"}));
  EXPECT_EQ(document["configuration"]["ablation"], (json{{"by", "own"}, {"heads", {{0, 1}}}}));
  EXPECT_NE(outcome.out.find("\noracle(values:1) + prefix"), std::string::npos) << outcome.out;
  const auto stats = SafeTensors::open(std::filesystem::path(out_) / "stats.safetensors");
  for (const auto& row : document["rows"]) {
    EXPECT_EQ(row["diagnosis"]["cosine"].size(), 2u);
    EXPECT_EQ(row["attention"].size(), 2u);
    for (const auto& layer : row["attention"][1]["layers"]) {
      double sum = 0;
      for (const auto& bin : layer) sum += bin.get<double>();
      EXPECT_NEAR(sum, 1, 1e-5);  // fp32
      EXPECT_EQ(layer.size(), row["attention"][1]["edges"].size());
    }
  }
  EXPECT_EQ(stats.tensor("0/oracle(both)/2/cosine").sizes(), (std::vector<int64_t>{2, 2, 18}));
  EXPECT_EQ(stats.tensor("0/parallel/4/probabilities_11").sizes(),
            (std::vector<int64_t>{2, 2, 35 + 12}));
  EXPECT_EQ(load_run(out_ + "/run.json").options.oracles[1].name(), "values:1");
  EXPECT_EQ(json_of(load_run(out_ + "/run.json")).dump(1) + "\n", read_file(out_ + "/run.json"));
  expect_error(small({"--overwrite", "--rows", "12"}), 2,
               "--rows 12: the query's rows are 0 to 11");
  expect_error(small({"--overwrite", "--oracle", "both:9"}), 1,
               "motet::oracle: layer 9, but the model has 2, counted from 0");
}

TEST_F(Compare, AHubIdIsFoundInTheLocalCache) {
  const auto repository = directory_.path() / "hub/models--somebody--tiny";
  std::filesystem::create_directories(repository / "snapshots");
  std::filesystem::create_directories(repository / "refs");
  write_file(repository / "refs/main", "0123abc\n");
  const auto run_id = [&](const std::string& id) {
    auto words = command(small({"--overwrite"}));
    words[2] = id;
    words.insert(words.begin(),
                 {"/usr/bin/env", "HF_HUB_CACHE=" + (directory_.path() / "hub").string()});
    return Process(directory_.path(), words).wait();
  };
  EXPECT_EQ(run_id("somebody/tiny").err,
            "motet-compare: somebody/tiny: " + (repository / "snapshots/0123abc").string() +
                " is missing; `hf download somebody/tiny` brings the model anew\n");
  std::filesystem::create_directory_symlink(model_, repository / "snapshots/0123abc");
  const auto outcome = run_id("somebody/tiny");
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(run_id("somebody/else").err,
            "motet-compare: somebody/else: there is no such directory, and no model of this id in "
            "the local cache (" +
                (directory_.path() / "hub/models--somebody--else").string() +
                " is missing); `hf download somebody/else` brings it\n");
}

TEST_F(Compare, HelpAndVersion) {
  const auto help = run({"--help"});
  EXPECT_EQ(help.code, 0);
  for (const auto* option :
       {"--model",  "--text",      "--length",    "--scored", "--segments", "--skip",    "--pieces",
        "--prefix", "--select",    "--positions", "--dtype",  "--device",   "--threads", "--seed",
        "--out",    "--overwrite", "--resume",    "--quiet",  "--help",     "--version"}) {
    EXPECT_NE(help.out.find(option), std::string::npos) << option;
  }
  const auto version = run({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_TRUE(version.out.starts_with("motet-compare " + std::string(motet::version()) + " ("))
      << version.out;
}

TEST_F(Compare, QuietSaysNothingOnStderr) {
  const auto outcome = run(small({"--quiet"}));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.err, "");
}

}  // namespace
}  // namespace motet
