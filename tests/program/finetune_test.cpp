// motet-finetune, run as a user runs it.

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <torch/types.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "motet/files/lock.h"
#include "motet/files/safetensors.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/model/weights.h"
#include "motet/text/tokenizer.h"
#include "program/program.h"
#include "temporary.h"

namespace motet {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// A tokenizer whose tokens are bytes.
void write_byte_tokenizer(const fs::path& directory) {
  // GPT-2's names of bytes: printable ones stand for themselves, the others for what comes after
  // 255.
  json vocabulary;
  int64_t next = 256;
  for (int64_t byte = 0; byte < 256; ++byte) {
    const bool itself =
        (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    const auto code = itself ? byte : next++;
    std::string name;
    if (code < 0x80) {
      name = static_cast<char>(code);
    } else {
      name = {static_cast<char>(0xc0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3f))};
    }
    vocabulary[name] = byte;
  }
  write_file(directory / "vocab.json", vocabulary.dump());
  write_file(directory / "merges.txt", "#version: 0.2\n");
}

const json kTinyGpt2{{"model_type", "gpt2"}, {"architectures", {"GPT2LMHeadModel"}},
                     {"vocab_size", 256},    {"n_positions", 48},
                     {"n_embd", 8},          {"n_layer", 2},
                     {"n_head", 2}};

class Finetune : public testing::Test {
 protected:
  Finetune() {
    fs::create_directory(tokenizer_);
    write_byte_tokenizer(tokenizer_);
    write_file(init_, kTinyGpt2.dump());
    const auto book = read_file(fs::path(MOTET_TEST_DATA) / "valid_books.txt");
    write_file(text_, book.substr(0, 6000));
    write_file(valid_, book.substr(6000, 1000));
  }

  std::vector<std::string> command(const std::string& out,
                                   const std::vector<std::string>& more) const {
    std::vector<std::string> words{
        MOTET_FINETUNE, "--init",  init_, "--tokenizer", tokenizer_, "--text", text_, "--length",
        "24",           "--batch", "2",   "--threads",   "1",        "--out",  out};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  Outcome run(const std::string& out, const std::vector<std::string>& more) const {
    return Process(directory_.path(), command(out, more)).wait();
  }
  /// A reading is fitted to the model in `model`.
  Outcome fit(const std::string& model, const std::string& out,
              const std::vector<std::string>& more) const {
    std::vector<std::string> words{
        MOTET_FINETUNE, "--model", model,       "--tune", "reading", "--text", text_,
        "--length",     "24",      "--threads", "1",      "--out",   out};
    words.insert(words.end(), more.begin(), more.end());
    return Process(directory_.path(), words).wait();
  }
  void expect_error(const std::vector<std::string>& more, int code,
                    const std::string& error) const {
    const auto outcome = run(out_, more);
    EXPECT_EQ(outcome.code, code);
    EXPECT_EQ(outcome.err, "motet-finetune: " + error +
                               (code == 2 ? "\nRun it with --help for its options.\n" : "\n"));
    EXPECT_EQ(outcome.out, "");
  }

  /// Starts the program, and sends it `signal` as soon as its log has `lines` lines or more.
  Outcome stop_at(std::size_t lines, int signal, const std::vector<std::string>& more) const {
    fs::create_directory(out_);
    const int watch = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    ::inotify_add_watch(watch, out_.c_str(), IN_MODIFY | IN_MOVED_TO);
    const Process process(directory_.path(), command(out_, more));
    const int ended = static_cast<int>(::syscall(SYS_pidfd_open, process.id(), 0));
    while (this->lines("log.jsonl").size() < lines) {
      pollfd ready[]{{watch, POLLIN, 0}, {ended, POLLIN, 0}};
      ::poll(ready, 2, -1);
      if (ready[1].revents != 0) break;  // the program ended by itself
      alignas(inotify_event) char events[4096];
      while (::read(watch, events, sizeof events) > 0) continue;
    }
    ::kill(process.id(), signal);
    ::close(watch);
    ::close(ended);
    return process.wait();
  }

  /// The whole lines of a log.
  std::vector<std::string> lines(const std::string& name) const {
    std::vector<std::string> lines;
    if (!fs::exists(out_ + "/" + name)) return lines;
    const auto text = read_file(out_ + "/" + name);
    for (std::size_t first = 0, end; (end = text.find('\n', first)) != text.npos; first = end + 1) {
      lines.push_back(text.substr(first, end - first));
    }
    return lines;
  }
  std::set<std::string> files(const std::string& directory) const {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory)) {
      names.insert(entry.path().filename());
    }
    return names;
  }

  TemporaryDirectory directory_;
  std::string init_ = directory_ / "tiny.json", tokenizer_ = directory_ / "tokenizer",
              text_ = directory_ / "text.txt", valid_ = directory_ / "valid.txt",
              out_ = directory_ / "out", whole_ = directory_ / "whole";
};

TEST_F(Finetune, TrainsFromScratchAndThenFromItsModel) {
  const auto outcome = run(out_, {"--steps", "40", "--lr", "0.01", "--valid", valid_,
                                  "--valid-every", "15", "--save-every", "15", "--seed", "2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(files(out_), (std::set<std::string>{"checkpoint-30", "checkpoint-40", "config.json",
                                                "log.jsonl", "merges.txt", "model.safetensors",
                                                "training.json", "valid.jsonl", "vocab.json"}));
  EXPECT_EQ(files(out_ + "/checkpoint-40"),
            (std::set<std::string>{"config.json", "merges.txt", "model.safetensors",
                                   "optimizer.safetensors", "training_state.json", "vocab.json"}));
  const auto log = lines("log.jsonl");
  ASSERT_EQ(log.size(), 40u);
  for (std::size_t i = 0; i < log.size(); ++i) {
    const auto line = json::parse(log[i]);
    EXPECT_EQ(line["step"], i + 1);
    EXPECT_EQ(line["tokens"], (i + 1) * 48);
    EXPECT_TRUE(line["penalty"].is_null());
    EXPECT_GT(line["lr"].get<double>(), 0);
    EXPECT_GT(line["gradient_norm"].get<double>(), 0);
  }
  const auto loss = [](const std::string& line) { return json::parse(line)["loss"].get<double>(); };
  EXPECT_NEAR(loss(log[0]), std::log(256), 0.1);  // it knows nothing yet
  EXPECT_LT(loss(log[39]), 4);
  const auto valid = lines("valid.jsonl");
  ASSERT_EQ(valid.size(), 4u);  // 0, 15, 30, 40
  EXPECT_EQ(json::parse(valid[3])["step"], 40);
  EXPECT_LT(loss(valid[3]), loss(valid[0]) - 1);
  EXPECT_NE(outcome.out.find("Model: " + out_ + "\n"), std::string::npos) << outcome.out;

  const auto document = json::parse(read_file(out_ + "/training.json"));
  EXPECT_EQ(document["model"]["hash"], sha256(read_file(init_)));
  EXPECT_EQ(document["text"]["hash"], sha256(read_file(text_)));
  EXPECT_EQ(document["configuration"]["warmup"], 4);
  EXPECT_EQ(document["seed"], 2);

  // Its result is a model, the last checkpoint is the same, and training goes on from it.
  const auto model = load_model(out_), saved = load_model(out_ + "/checkpoint-40");
  for (std::size_t i = 0; i < model->parameters().size(); ++i) {
    EXPECT_TRUE(torch::equal(model->parameters()[i], saved->parameters()[i]));
  }
  EXPECT_EQ(Tokenizer::load(out_).encode("abc").ids, (std::vector<int64_t>{'a', 'b', 'c'}));
  std::vector<std::string> more{
      MOTET_FINETUNE,     "--model", out_,      "--text", text_,    "--length", "24",
      "--batch",          "2",       "--steps", "1",      "--seed", "9",        "--out",
      directory_ / "more"};
  ASSERT_EQ(Process(directory_.path(), more).wait().code, 0);
  const auto next = json::parse(read_file(directory_ / "more" / "log.jsonl"));
  EXPECT_LT(next["loss"].get<double>(), 4);
  EXPECT_EQ(json::parse(read_file(directory_ / "more" / "config.json"))["_name_or_path"],
            "out, fine-tuned");
}

TEST_F(Finetune, KilledAndResumedIsTheSameRun) {
  for (const auto& extra : std::vector<std::vector<std::string>>{
           {"--sparsity", "tail", "--keys", "4", "--weight", "0.1", "--weight-warmup", "40",
            "--valid", valid_, "--valid-every", "7", "--valid-rows", "3"},
           {"--pieces", "3", "--scored", "8", "--prefix", "Read:\\n", "--loss", "all", "--dtype",
            "bfloat16", "--accumulate", "2", "--checkpoint-activations"}}) {
    std::vector<std::string> words{"--steps", "150", "--save-every", "5", "--lr", "0.003"};
    words.insert(words.end(), extra.begin(), extra.end());
    ASSERT_EQ(stop_at(17, SIGKILL, words).code, -SIGKILL);
    const auto before = lines("log.jsonl");
    ASSERT_GE(before.size(), 17u);
    ASSERT_LT(before.size(), 150u);
    EXPECT_FALSE(fs::exists(out_ + "/model.safetensors"));
    words.push_back("--resume");
    const auto outcome = run(out_, words);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("\ngoing on after step "), std::string::npos) << outcome.err;
    ASSERT_EQ(run(whole_, words).code, 0);  // starts where there is nothing
    for (const auto* name : {"log.jsonl", "model.safetensors"}) {
      EXPECT_TRUE(read_file(out_ + "/" + name) == read_file(whole_ + "/" + name)) << name;
    }
    const auto after = lines("log.jsonl");
    EXPECT_EQ(after.size(), 150u);
    EXPECT_EQ(before, std::vector<std::string>(after.begin(), after.begin() + before.size()));
    EXPECT_EQ(fs::exists(valid_) && extra[0] == "--sparsity",
              fs::exists(out_ + "/valid.jsonl") &&
                  read_file(out_ + "/valid.jsonl") == read_file(whole_ + "/valid.jsonl"));
    EXPECT_EQ(files(out_), files(whole_));
    fs::remove_all(out_);
    fs::remove_all(whole_);
  }
}

TEST_F(Finetune, InterruptedItSavesACheckpointAndSaysHowToGoOn) {
  const std::vector<std::string> words{"--steps", "400", "--save-every", "1000"};
  const auto outcome = stop_at(3, SIGINT, words);
  EXPECT_EQ(outcome.code, 1);
  const auto done = lines("log.jsonl").size();
  ASSERT_LT(done, 400u);
  const auto checkpoint = out_ + "/checkpoint-" + std::to_string(done);
  EXPECT_TRUE(outcome.err.ends_with("motet-finetune: interrupted after step " +
                                    std::to_string(done) + " of 400; " + checkpoint +
                                    " holds it, and --resume goes on with it\n"))
      << outcome.err;
  EXPECT_TRUE(fs::exists(checkpoint));
  auto quiet = words;
  quiet.push_back("--quiet");
  expect_error(quiet, 1,
               out_ + ": holds a run already; --resume goes on with it, --overwrite replaces it");
  auto resume = words;
  resume.push_back("--resume");
  ASSERT_EQ(run(out_, resume).code, 0);
  EXPECT_EQ(lines("log.jsonl").size(), 400u);
  ASSERT_EQ(run(out_, {"--steps", "2", "--overwrite"}).code, 0);
  EXPECT_EQ(lines("log.jsonl").size(), 2u);
  EXPECT_FALSE(fs::exists(checkpoint));
}

TEST_F(Finetune, WhatCannotBeWrittenStopsItAndLosesNothing) {
  const std::vector<std::string> words{"--steps", "150", "--save-every", "5", "--resume"};
  ASSERT_EQ(stop_at(7, SIGINT, words).code, 1);
  const auto done = lines("log.jsonl").size();
  const auto kept = out_ + "/checkpoint-" + std::to_string(done);
  const auto before = files(out_);
  Outcome outcome;
  {
    const FileSizeLimit limit(fs::file_size(kept + "/model.safetensors") - 1);
    outcome = run(out_, words);
  }
  EXPECT_EQ(outcome.code, 1);
  const auto failed = std::to_string(done / 5 * 5 + 5);
  EXPECT_NE(outcome.err.find("model.safetensors: cannot be written: File too large; nothing was "
                             "changed; checkpoint-" +
                             failed + " takes "),
            std::string::npos)
      << outcome.err;
  EXPECT_TRUE(outcome.err.ends_with("; " + kept + " is kept, and --resume goes on with it\n"))
      << outcome.err;
  EXPECT_EQ(files(out_), before);
  ASSERT_EQ(run(out_, words).code, 0);
  ASSERT_EQ(run(whole_, words).code, 0);
  EXPECT_TRUE(read_file(out_ + "/log.jsonl") == read_file(whole_ + "/log.jsonl"));
}

TEST_F(Finetune, ALossThatIsNotANumberStopsItBeforeItIsSaved) {
  const std::string error =
      "the loss of its weights is nan; a lower learning rate or a longer warm-up may help; ";
  const std::vector<std::string> rest{"--warmup", "0", "--save-every", "3", "--quiet"};
  const auto with = [&](std::vector<std::string> words) {
    words.insert(words.end(), rest.begin(), rest.end());
    return words;
  };
  expect_error(with({"--steps", "9", "--lr", "1e30", "--overwrite"}), 1,
               "step 2: the loss is nan; a lower learning rate or a longer warm-up may help; there "
               "is no checkpoint yet");
  expect_error(with({"--steps", "1", "--lr", "1e30", "--overwrite"}), 1,
               "step 1: " + error + "there is no checkpoint yet");
  EXPECT_FALSE(fs::exists(out_ + "/model.safetensors"));
  // A run that goes bad later keeps what was good.
  ASSERT_EQ(run(out_, with({"--steps", "6", "--lr", "0.001", "--overwrite"})).code, 0);
  auto document = nlohmann::ordered_json::parse(read_file(out_ + "/training.json"));
  document["configuration"]["steps"] = 7;
  document["configuration"]["lr"] = 1e30;
  write_file(out_ + "/training.json", document.dump());
  expect_error(with({"--steps", "7", "--lr", "1e30", "--resume"}), 1,
               "step 7: " + error + out_ + "/checkpoint-6 is kept");
  EXPECT_FALSE(fs::exists(out_ + "/checkpoint-7"));
}

/// A reading is fitted to a model's texts, says so in its file, and is read by name.
TEST_F(Finetune, FitsAReading) {
  ASSERT_EQ(run(out_, {"--steps", "20", "--lr", "0.01"}).code, 0);
  const auto fit = [&](std::vector<std::string> more) {
    more.insert(more.begin(),
                {"--scored", "6", "--pieces", "2,3", "--valid", valid_, "--valid-every", "4"});
    return Finetune::fit(out_, whole_, more);
  };
  const auto outcome =
      fit({"--steps", "8", "--prefix", "A", "--prefix-weight", "--valid-rows", "2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("--readings learned:" + whole_ + "/reading.safetensors"),
            std::string::npos);
  EXPECT_EQ(files(whole_), (std::set<std::string>{"checkpoint-8", "log.jsonl", "training.json",
                                                  "reading.safetensors", "valid.jsonl"}));
  const auto file = SafeTensors::open(whole_ + "/reading.safetensors");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"discount", "exponent", "prefix"}));
  EXPECT_EQ(file.tensor("exponent").sizes(), (std::vector<int64_t>{2, 2}));
  const auto configuration = json::parse(file.metadata().at("configuration"));
  EXPECT_EQ(configuration["pieces"], (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(configuration["lr"], 0.04);
  const auto document = json::parse(read_file(whole_ + "/training.json"));
  const auto& about = file.metadata();
  EXPECT_EQ(about.at("model_hash"), document["model"]["hash"]);
  EXPECT_EQ(about.at("texts"), R"(["text.txt"])");
  for (const auto* field : {"text", "valid", "seed"}) {
    EXPECT_EQ(json::parse(about.at(field)), document[field]) << field;
  }
  for (const auto* field : {"dtype", "device", "kernel", "products", "revision"}) {
    EXPECT_EQ(about.at(field), document[field]) << field;
  }
  EXPECT_EQ(about.at("step"), "8");
  const auto refused = [&](const std::vector<std::string>& more) {
    const auto refused = fit(more);
    EXPECT_NE(refused.code, 0);
    return refused.err.substr(0, refused.err.find("\nRun it"));
  };
  EXPECT_EQ(refused({"--steps", "9", "--prefix", "A", "--prefix-weight", "--valid-rows", "2",
                     "--resume"}),
            "motet-finetune: " + whole_ +
                "/training.json: is a run with another steps: it has 8, "
                "this command has 9; choose another --out\n");
  EXPECT_EQ(refused({"--batch", "2"}),
            "motet-finetune: --tune reading: --batch is of the training of weights");
  EXPECT_EQ(refused({"--loss", "all"}),
            "motet-finetune: --tune reading: --loss is of the training of weights");
  EXPECT_EQ(refused({"--valid-rows", "0"}), "motet-finetune: --valid-rows 0: at least 1 is wanted");
  expect_error({"--tune", "weights", "--teach", "full", "--pieces", "2"}, 2,
               "--tune weights: --teach is of the fit of a reading");
  EXPECT_EQ(refused({"--start", "2"}), "motet-finetune: --start 2: two numbers are wanted, b:c");
  EXPECT_EQ(refused({"--start", "0:1"}),
            "motet-finetune: --start 0: b within 0.001 and 1000 is wanted");
  EXPECT_EQ(refused({"--start", "1:1e39"}),
            "motet-finetune: --start 1e+39: c within -1000 and 1000 is wanted");
  EXPECT_EQ(refused({"--pieces", "2"}), "motet-finetune: --pieces: the degree 2 is given twice");
  expect_error({"--pieces", "2,3"}, 2,
               "--pieces: weights are trained at one degree; several are of --tune reading");
}

TEST_F(Finetune, AFitLeavesNoReadingOfAnother) {
  ASSERT_EQ(run(whole_, {"--steps", "1"}).code, 0);
  const auto fit = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"--pieces", "2", "--steps", "1"});
    return Finetune::fit(whole_, out_, more);
  };
  // A reading, or a result in best/, is never overwritten unasked.
  const auto foreign = out_ +
                       ": holds a model, a reading or a run, but no training.json, so "
                       "motet-finetune did not begin it; choose another --out\n";
  for (const auto* name : {"reading.safetensors", "best/model.safetensors"}) {
    fs::create_directories(out_ + "/best");
    write_file(out_ + "/" + name, "somebody's");
    const auto outcome = fit({"--overwrite"});
    EXPECT_EQ(outcome.err, "motet-finetune: " + foreign);
    EXPECT_EQ(read_file(out_ + "/" + name), "somebody's");
    fs::remove_all(out_);
  }
  const auto taught = fit({"--teach", "full", "--valid", valid_});
  ASSERT_EQ(taught.code, 0) << taught.err;
  EXPECT_NE(taught.out.find("loss: divergence from full reading; validation: of the text's own "
                            "tokens\n"),
            std::string::npos)
      << taught.out;
  fs::create_directories(out_ + "/best");
  write_file(out_ + "/best/reading.safetensors", "of a run that was stopped");
  write_file(out_ + "/reading.safetensors.partial-12345", "of a process that was killed");
  ASSERT_EQ(run(out_, {"--steps", "1", "--overwrite"}).code, 0);  // of weights
  for (const auto& name : files(out_)) {
    EXPECT_FALSE(name.starts_with("reading") || name == "best" || name == "valid.jsonl") << name;
  }
}

TEST_F(Finetune, ResumeRefusesAnotherRunAndNamesTheDifference) {
  ASSERT_EQ(run(out_, {"--steps", "3"}).code, 0);
  const auto where = out_ + "/training.json: is a run with another ";
  expect_error({"--steps", "4", "--resume"}, 1,
               where + "steps: it has 3, this command has 4; choose another --out");
  expect_error({"--steps", "3", "--lr", "0.5", "--resume"}, 1,
               where + "lr: it has 5e-05, this command has 0.5; choose another --out");
  expect_error({"--steps", "3", "--seed", "1", "--resume"}, 1,
               where + "seed: it has 0, this command has 1; choose another --out");
  expect_error({"--steps", "3", "--dtype", "bfloat16", "--resume"}, 1,
               where +
                   "dtype: it has \"float32\", this command has \"bfloat16\"; choose another "
                   "--out");
  write_file(text_, read_file(text_) + "More.");
  const auto outcome = run(out_, {"--steps", "3", "--resume"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_TRUE(outcome.err.starts_with("motet-finetune: " + where + "text: it has "));
  auto config = kTinyGpt2;
  config["n_head"] = 4;
  write_file(init_, config.dump());
  EXPECT_TRUE(run(out_, {"--steps", "3", "--resume"})
                  .err.starts_with("motet-finetune: " + where + "model: it has "));
}

TEST_F(Finetune, ResumeMindsContentsAndNotNames) {
  ASSERT_EQ(run(out_ + "/", {"--steps", "3"}).code, 0);
  const auto config = json::parse(read_file(out_ + "/config.json"));
  EXPECT_EQ(config["_name_or_path"], "out");
  const auto renamed = directory_ / "renamed.txt";
  fs::rename(text_, renamed);
  write_file(out_ + "/model.safetensors.partial-12345", "of a process that was killed");
  const auto resume = [&] {
    return Process(directory_.path(),
                   {MOTET_FINETUNE, "--init", init_, "--tokenizer", tokenizer_, "--text", renamed,
                    "--length", "24", "--batch", "2", "--steps", "3", "--out", out_, "--resume"})
        .wait();
  };
  const auto outcome = resume();
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_FALSE(fs::exists(out_ + "/model.safetensors.partial-12345"));
  fs::remove(out_ + "/log.jsonl");
  const auto without = resume();
  EXPECT_EQ(without.code, 0) << without.err;
  EXPECT_EQ(without.out, "Model: " + out_ + "\nLog: gone\n");
}

TEST_F(Finetune, OverwriteLeavesNothingOfTheRunBefore) {
  ASSERT_EQ(run(out_, {"--steps", "1"}).code, 0);
  write_file(out_ + "/added_tokens.json", "{}");  // of another tokenizer
  ASSERT_EQ(run(out_, {"--steps", "1", "--overwrite"}).code, 0);
  EXPECT_FALSE(fs::exists(out_ + "/added_tokens.json"));
  // Nothing goes that could not be written anew.
  const auto odd = (directory_ / "caf\xe9.txt").string();
  write_file(odd, read_file(text_));
  auto words = command(out_, {"--steps", "1", "--overwrite"});
  *std::find(words.begin(), words.end(), std::string(text_)) = odd;
  const auto unnamed = Process(directory_.path(), words).wait();
  EXPECT_EQ(unnamed.code, 1);
  EXPECT_NE(unnamed.err.find("is not UTF-8"), std::string::npos) << unnamed.err;
  EXPECT_TRUE(fs::exists(out_ + "/model.safetensors"));
  // But not what it begins with itself.
  const auto refused =
      Process(directory_.path(), {MOTET_FINETUNE, "--model", out_, "--text", text_, "--length",
                                  "24", "--steps", "1", "--out", out_ + "/", "--overwrite"})
          .wait();
  EXPECT_EQ(refused.code, 1);
  EXPECT_EQ(refused.err, "motet-finetune: " + out_ + "/: --overwrite would remove " + out_ +
                             ", which this run begins with; choose another --out\n");
  EXPECT_TRUE(fs::exists(out_ + "/model.safetensors"));
}

TEST_F(Finetune, AConfigGivesWayToWhatExcludesItsOptions) {
  ASSERT_EQ(run(out_, {"--steps", "1", "--sparsity", "tail", "--share", "0.5"}).code, 0);
  const auto outcome =
      Process(directory_.path(),
              {MOTET_FINETUNE, "--config", out_ + "/training.json", "--keys", "4", "--out", whole_})
          .wait();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto sparse =
      json::parse(read_file(whole_ + "/training.json"))["configuration"]["sparsity"];
  EXPECT_EQ(sparse["keys"], 4);
  EXPECT_TRUE(sparse["share"].is_null());
}

TEST_F(Finetune, OneProcessAtATime) {
  ASSERT_EQ(run(out_, {"--steps", "1"}).code, 0);
  auto at_work = std::make_unique<DirectoryLock>(out_);  // as one that is
  for (const auto* how : {"--resume", "--overwrite"}) {
    expect_error({"--steps", "1", "--quiet", how}, 1,
                 out_ +
                     ": another process is at work in it; wait, stop that one first, or choose "
                     "another directory");
  }
  at_work.reset();
  EXPECT_EQ(run(out_, {"--steps", "1", "--overwrite"}).code, 0);
}

TEST_F(Finetune, NeverOverwritesAModel) {
  fs::create_directory(out_);
  write_file(out_ + "/config.json", "{}");
  for (const auto* how : {"--overwrite", "--resume"}) {
    expect_error({"--steps", "3", how}, 1,
                 out_ +
                     ": holds a model, a reading or a run, but no training.json, so motet-finetune "
                     "did not begin it; choose another --out");
  }
  EXPECT_EQ(files(out_), std::set<std::string>{"config.json"});
}

TEST_F(Finetune, CommandLineErrors) {
  expect_error({"--steps", "0"}, 2, "--steps 0: at least 1 is wanted");
  expect_error({"--warmup", "100"}, 2, "--warmup 100: 0 to 99 of the 100 steps are wanted");
  expect_error({"--save-every", "0"}, 2, "--save-every 0: at least 1 is wanted");
  // Options without effect.
  expect_error({"--scored", "5"}, 2, "--scored requires --pieces");
  expect_error({"--prefix", "a"}, 2, "--prefix requires --pieces");
  expect_error({"--loss", "all"}, 2, "--loss requires --pieces");
  expect_error({"--positions", "left"}, 2, "--positions requires --pieces");
  expect_error({"--keys", "5"}, 2, "--keys requires --sparsity");
  expect_error({"--weight", "5"}, 2, "--weight requires --sparsity");
  expect_error({"--layers", "1"}, 2, "--layers requires --sparsity");
  expect_error({"--valid-every", "5"}, 2, "--valid-every requires --valid");
  expect_error({"--sparsity", "tail", "--floor", "0.1"}, 2, "--floor is of --sparsity hinge alone");
  expect_error({"--sparsity", "most"}, 2, "--sparsity: most not in {tail,log,hinge,entropy}");
  expect_error({"--sparsity", "tail", "--heads", "2"}, 2,
               "--heads 2: the model has 2, counted from 0");
  expect_error({"--sparsity", "tail", "--keys", "0"}, 2,
               "motet::SparsityOptions: keys = 0; a row has a budget of at least 1");
  expect_error({"--model", "x"}, 2, "--model excludes --init");
  expect_error(
      {"--pieces", "9", "--scored", "10"}, 2,
      "motet::split_tokens: 13 tokens in pieces of 2 make 7 pieces, not 9; choose fewer pieces or "
      "a longer context");
  const auto outcome = Process(directory_.path(), {MOTET_FINETUNE, "--text", text_}).wait();
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "motet-finetune: --out is required\nRun it with --help for its options.\n");
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(Finetune, BadInputIsNamed) {
  auto config = kTinyGpt2;
  config["n_positions"] = 16;
  write_file(init_, config.dump());
  expect_error({}, 1,
               "motet::Trainer: rows of 24 tokens need 23 positions, the model has 16; choose "
               "shorter rows or more pieces");
  const auto text = read_file(text_);
  write_file(text_, "short");
  expect_error({}, 1,
               text_ +
                   ": motet::text_rows: 5 tokens do not fill a row of 24; choose shorter rows "
                   "or a longer text");
  write_file(text_, text);
  config["vocab_size"] = 200;
  write_file(init_, config.dump());
  expect_error({}, 1,
               tokenizer_ + ": its tokenizer has ids up to 255, but " + init_ +
                   " gives the model a vocabulary of 200");
  write_file(init_, "{}");
  expect_error({}, 1, init_ + ": has no 'model_type'");
  write_file(init_, kTinyGpt2.dump());
  expect_error({"--sparsity", "tail", "--keys", "23"}, 1,
               "motet::Trainer: the penalty reaches no row: none sees more keys than its budget of "
               "23; choose a smaller budget, or rows of more than 24 tokens");
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(Finetune, ALoopOfOnesOwnRuns) {
  ASSERT_EQ(run(out_, {"--steps", "1"}).code, 0);
  const auto own = directory_ / "own";
  const auto outcome = Process(directory_.path(), {MOTET_FINE_TUNE, out_, text_, own}).wait();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 20);
  const auto nll = [&](const std::string& step) {
    return std::stod(outcome.out.substr(outcome.out.find(step + ": ") + step.size() + 2));
  };
  EXPECT_LT(nll("20"), nll("1"));
  const auto before = load_model(out_), after = load_model(own);
  EXPECT_FALSE(torch::equal(before->parameters()[0], after->parameters()[0]));
}

TEST_F(Finetune, HelpIsTidy) {
  const auto outcome = Process(directory_.path(), {MOTET_FINETUNE, "--help"}).wait();
  EXPECT_EQ(outcome.code, 0);
  for (const auto* word : {"--sparsity", "--pieces", "--init", "--resume", "--accumulate"}) {
    EXPECT_NE(outcome.out.find(word), std::string::npos) << word;
  }
  EXPECT_EQ(outcome.err, "");
}

}  // namespace
}  // namespace motet
