// motet-finetune: trains a model on text, as it is read in pieces where asked, with a loss that
// makes attention sparse where asked. After Sason et al. 2025, arXiv 2503.01564 v1 (since
// withdrawn).

#include <ATen/Parallel.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <torch/utils.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "motet/attention/kernel.h"
#include "motet/context/layout.h"
#include "motet/eval/memory.h"
#include "motet/eval/predictions.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/files/sha256.h"
#include "motet/model/hub.h"
#include "motet/text/documents.h"
#include "motet/text/tokenizer.h"
#include "motet/train/checkpoints.h"
#include "motet/train/initial.h"
#include "motet/train/trainer.h"
#include "motet/version.h"
#include "program.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using program::note;
using program::UsageError;

struct Options : program::Options {
  fs::path init, tokenizer, valid;
  std::vector<fs::path> text;
  std::optional<int64_t> length, warmup, pieces, scored;
  std::string field = "text", prefix, loss = "scored", positions = "spread";
  motet::TrainOptions train;
  std::string sparsity;
  motet::SparsityOptions sparse;
  bool first_is_free = false;
  int64_t save_every = 50, valid_every = 50, valid_rows = 32;
};

void add_training_options(CLI::App& app, Options& options) {
  auto& train = options.train;
  app.add_option("--text", options.text,
                 "UTF-8 files, folders of .txt and .jsonl files, or - for standard input; rows do\n"
                 "not run from one text into the next")
      ->required();
  app.add_option("--field", options.field, "of a .jsonl line that is an object")
      ->capture_default_str();
  app.add_option("--steps", train.steps)->capture_default_str();
  app.add_option("--batch", train.batch, "rows of one pass")->capture_default_str();
  app.add_option("--accumulate", train.accumulate, "passes of one step")->capture_default_str();
  app.add_option("--length", options.length,
                 "tokens of a row; the smaller of 1024 and the model's positions, unless given");
  app.add_option("--lr", train.learning_rate, "largest learning rate")->capture_default_str();
  app.add_option("--warmup", options.warmup,
                 "steps over which the learning rate rises; a tenth of --steps, unless given. It\n"
                 "falls along half a cosine after them");
  app.add_option("--clip", train.clip, "largest norm of a gradient; 0: any")->capture_default_str();
  app.add_option("--decay", train.decay, "of weights, not of norms and biases")
      ->capture_default_str();
  app.add_flag("--checkpoint-activations", train.checkpoint,
               "keep only each layer's input, and compute the rest twice: less memory, more time");
  app.add_option("--save-every", options.save_every, "steps between checkpoints")
      ->capture_default_str();
  auto* valid = app.add_option("--valid", options.valid, "UTF-8 file to validate on");
  app.add_option("--valid-every", options.valid_every, "steps between validations")
      ->needs(valid)
      ->capture_default_str();
  app.add_option("--valid-rows", options.valid_rows, "rows to validate on, evenly from the file")
      ->needs(valid)
      ->capture_default_str();
}

void add_piece_options(CLI::App& app, Options& options) {
  auto* pieces = app.add_option("--pieces", options.pieces,
                                "degree P: rows are read in pieces, as motet-compare reads a "
                                "segment;\nplain causal rows, unless given");
  app.add_option("--scored", options.scored,
                 "tokens at a row's end that are predicted; a quarter of --length, unless given")
      ->needs(pieces);
  app.add_option("--prefix", options.prefix, "shared prefix before the pieces; knows \\n")
      ->needs(pieces);
  app.add_option("--positions", options.positions, "of the pieces' tokens")
      ->check(CLI::IsMember({"spread", "left", "right", "sequential"}))
      ->needs(pieces)
      ->capture_default_str();
  app.add_option("--loss", options.loss, "over scored tokens, or the pieces' own next tokens too")
      ->check(CLI::IsMember({"scored", "all"}))
      ->needs(pieces)
      ->capture_default_str();
}

void add_sparsity_options(CLI::App& app, Options& options) {
  auto& sparse = options.sparse;
  auto* sparsity = app.add_option("--sparsity", options.sparsity,
                                  "adds a penalty on attention rows: tail (mass outside a row's "
                                  "largest keys),\nlog, hinge or entropy")
                       ->check(CLI::IsMember({"tail", "log", "hinge", "entropy"}));
  auto* keys = app.add_option("--keys", sparse.keys, "a row's largest keys")
                   ->needs(sparsity)
                   ->capture_default_str();
  app.add_option("--share", sparse.share, "or this share of those that it sees")
      ->needs(sparsity)
      ->excludes(keys);
  app.add_option("--weight", sparse.weight, "lambda, of the penalty")
      ->needs(sparsity)
      ->capture_default_str();
  app.add_option("--weight-warmup", sparse.warmup, "steps over which lambda rises")
      ->needs(sparsity)
      ->capture_default_str();
  app.add_option("--layers", sparse.layers, "that are penalised, from 0; all, unless given")
      ->delimiter(',')
      ->needs(sparsity);
  app.add_option("--heads", sparse.heads, "that are penalised, from 0; all, unless given")
      ->delimiter(',')
      ->needs(sparsity);
  app.add_option("--floor", sparse.floor, "of hinge: mass outside that goes free")
      ->needs(sparsity)
      ->capture_default_str();
  app.add_flag("--first-is-free", options.first_is_free,
               "token 0 does not count among a row's keys")
      ->needs(sparsity);
}

void add_options(CLI::App& app, Options& options) {
  program::add_options(app, options);
  program::add_config_option(app, options);
  app.get_option("--config")
      ->description("training.json of a run to repeat; options beside it replace its own");
  app.get_option("--model")
      ->required(false)
      ->envname("")  // which would clash with --init
      ->description(
          "directory of a model in Hugging Face format, or its id in the local hub cache;\n"
          "$MOTET_MODEL, unless given");
  app.get_option("--dtype")->description("of passes; weights and their steps are float32");
  app.get_option("--out")->required()->description(
      "directory for the trained model, checkpoints and log.jsonl");
  auto* init = app.add_option("--init", options.init, "config.json: trains from scratch instead")
                   ->excludes(app.get_option("--model"));
  auto* tokenizer =
      app.add_option("--tokenizer", options.tokenizer, "directory with that model's tokenizer")
          ->needs(init);
  init->needs(tokenizer);
  add_training_options(app, options);
  add_piece_options(app, options);
  add_sparsity_options(app, options);
}

/// The model's directory, or config.json.
fs::path model_path(const Options& options) {
  if (!options.init.empty()) {
    return options.init;
  }
  if (!options.model.empty()) {
    return options.model;
  }
  const auto* variable = std::getenv("MOTET_MODEL");
  if (variable == nullptr) {
    throw UsageError("give --model DIR, or --init CONFIG.json and --tokenizer DIR");
  }
  return motet::model_directory(variable);
}

motet::SparsityOptions sparsity_options(const Options& options, const motet::Config& config) {
  auto sparse = options.sparse;
  sparse.penalty = motet::penalty_named(options.sparsity);
  sparse.counts_first = !options.first_is_free;
  if (sparse.floor != 0 && sparse.penalty != motet::Penalty::kHinge) {
    throw UsageError("--floor is of --sparsity hinge alone");
  }
  try {
    sparse.validate();
  } catch (const motet::Error& error) {
    throw UsageError(error.what());
  }
  const auto check = [](const char* option, const std::vector<int64_t>& chosen, int64_t count) {
    for (const auto one : chosen) {
      if (one >= count) {
        throw UsageError(
            fmt::format("{} {}: the model has {}, counted from 0", option, one, count));
      }
    }
  };
  check("--layers", sparse.layers, config.layers);
  check("--heads", sparse.heads, config.heads);
  return sparse;
}

/// What the options ask for, checked before a text is read.
motet::TrainOptions train_options(const Options& options, const motet::Config& config,
                                  const motet::Tokenizer& tokenizer, int64_t length) {
  auto train = options.train;
  train.warmup = options.warmup.value_or(train.steps / 10);
  train.seed = static_cast<uint64_t>(options.seed);
  train.dtype = options.load().dtype;
  for (const auto& [option, value] : {std::pair("--save-every", options.save_every),
                                      std::pair("--valid-every", options.valid_every),
                                      std::pair("--valid-rows", options.valid_rows)}) {
    if (value < 1) {
      throw UsageError(fmt::format("{} {}: at least 1 is wanted", option, value));
    }
  }
  if (options.pieces) {
    train.cut = {.pieces = *options.pieces,
                 .scored = options.scored.value_or(std::max<int64_t>(1, length / 4)),
                 .prefix = tokenizer.encode(program::unescaped(options.prefix)).ids,
                 .positions = motet::positions_named(options.positions),
                 .context = options.loss == "all"};
  }
  if (!options.sparsity.empty()) {
    train.sparsity = sparsity_options(options, config);
  }
  try {
    train.validate();
  } catch (const motet::Error& error) {
    throw UsageError(fmt::format("--{}", error.what()));
  }
  try {
    const auto fits = train.cut ? motet::Cut(length, *train.cut) : motet::Cut(length);
  } catch (const motet::Error& error) {
    throw UsageError(error.what());
  }
  return train;
}

struct Text {
  torch::Tensor rows;   // [rows, length]
  ordered_json source;  // name and hashes
};

/// Rows of some texts; none of them has tokens of two.
Text read_text(const Options& options, const motet::Tokenizer& tokenizer,
               const std::vector<fs::path>& paths, int64_t length) {
  const auto documents = motet::read_documents(paths, options.field);
  std::vector<torch::Tensor> rows;
  std::string hashes;
  int64_t short_ones = 0;
  for (const auto& document : documents) {
    hashes += motet::sha256(document.text) + "\n";
    const auto tokens = program::tokens_of(options, tokenizer, document);
    if (documents.size() > 1 && static_cast<int64_t>(tokens.size()) < length) {
      ++short_ones;
      continue;
    }
    try {
      rows.push_back(motet::text_rows(tokens, length));
    } catch (const motet::Error& error) {
      motet::fail(document.name, ": ", error.what());
    }
  }
  motet::require(!rows.empty(), paths[0].string(), ": none of ", documents.size(),
                 " texts fills a row of ", length, " tokens; choose a smaller --length");
  if (short_ones > 0) {
    note(options,
         fmt::format("note: {} of {} texts do not fill a row of {} tokens and are left out",
                     short_ones, documents.size(), length));
  }
  Text text{torch::cat(rows), {}};
  const auto name = documents.size() == 1 ? fs::path(documents[0].name).filename().string()
                                          : fmt::format("{} texts", documents.size());
  text.source = {
      {"name", name},
      {"hash", documents.size() == 1 ? motet::sha256(documents[0].text) : motet::sha256(hashes)},
      {"rows", text.rows.size(0)},
      // of how it was tokenised and cut, too
      {"rows_hash",
       motet::sha256({static_cast<const char*>(text.rows.data_ptr()), text.rows.nbytes()})}};
  return text;
}

/// At most `count` rows, evenly spaced.
torch::Tensor some_rows(const torch::Tensor& rows, int64_t count) {
  const auto all = rows.size(0);
  std::vector<int64_t> chosen;
  for (int64_t i = 0; i < std::min(count, all); ++i) {
    chosen.push_back(i * all / std::min(count, all));
  }
  return rows.index_select(0, torch::tensor(chosen, torch::kInt64));
}

ordered_json configuration_of(const Options& options, const motet::TrainOptions& train,
                              int64_t length) {
  ordered_json json{{"steps", train.steps},
                    {"batch", train.batch},
                    {"accumulate", train.accumulate},
                    {"length", length},
                    {"lr", train.learning_rate},
                    {"warmup", train.warmup},
                    {"clip", train.clip},
                    {"decay", train.decay},
                    {"checkpoint_activations", train.checkpoint},
                    {"cut", nullptr},
                    {"sparsity", nullptr},
                    {"valid", nullptr}};
  if (train.cut) {
    json["cut"] = {{"pieces", train.cut->pieces},
                   {"scored", train.cut->scored},
                   {"prefix", train.cut->prefix},
                   {"positions", options.positions},
                   {"loss", options.loss}};
  }
  if (train.sparsity) {
    const auto& sparse = *train.sparsity;
    json["sparsity"] = {{"penalty", motet::name_of(sparse.penalty)},
                        {"weight", sparse.weight},
                        {"weight_warmup", sparse.warmup},
                        {"layers", sparse.layers},
                        {"heads", sparse.heads},
                        {"keys", sparse.share ? ordered_json() : ordered_json(sparse.keys)},
                        {"share", sparse.share ? ordered_json(*sparse.share) : ordered_json()},
                        {"first_is_free", options.first_is_free},
                        {"floor", sparse.floor}};
  }
  if (!options.valid.empty()) {
    json["valid"] = {{"every", options.valid_every}, {"rows", options.valid_rows}};
  }
  return json;
}

/// Files of a tokenizer, and of how to generate: copied beside the weights, so that they are a
/// model.
constexpr std::array kCopied{"tokenizer.json",      "tokenizer_config.json",   "vocab.json",
                             "merges.txt",          "special_tokens_map.json", "added_tokens.json",
                             "chat_template.jinja", "generation_config.json"};
/// What a run makes besides.
constexpr std::array kMade{"model.safetensors", "config.json", "log.jsonl", "valid.jsonl"};

/// A path without what leads nowhere: links, dots, a slash at its end.
fs::path plain_path(const fs::path& path) {
  const auto whole = fs::weakly_canonical(path);
  return whole.has_filename() ? whole : whole.parent_path();
}

/// Whether `path` is `directory`, or lies in it.
bool lies_in(const fs::path& path, const fs::path& directory) {
  return *plain_path(path).lexically_relative(plain_path(directory)).begin() != "..";
}

/// A run's directory: the trained model, the log, checkpoints, and training.json, which says how
/// all that came about. One process at a time has it.
class Output {
 public:
  explicit Output(const Options& options)
      : options_(options), document_(options.out / "training.json") {}
  ~Output() { unlock(); }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  /// Sees to it that the directory is free, or holds this very run where that is to go on. Nothing
  /// of another run or of a model is ever overwritten unasked.
  /// The tokenizer lies in `tokenizer`.
  void claim(const ordered_json& run, const fs::path& tokenizer) {
    const auto where = options_.out.string();
    const motet::Checkpoints checkpoints(options_.out);
    if (!fs::exists(document_)) {
      motet::require(!checkpoints.last() && files(false).empty(), where,
                     ": holds a model or a run, but no training.json, so motet-finetune did not "
                     "begin it; choose another --out");
    } else if (options_.resume) {
      lock();
      check_same(run);
      for (const auto& path : files(true)) {
        fs::remove(path);
      }
      return;
    } else {
      motet::require(options_.overwrite, where,
                     ": holds a run already; --resume goes on with it, --overwrite replaces it");
      for (const auto& path : {model_path(options_), tokenizer}) {
        motet::require(!lies_in(path, options_.out), where, ": --overwrite would remove ",
                       path.string(), ", which this run begins with; choose another --out");
      }
      lock();
      checkpoints.remove_all();
      for (const auto partial : {false, true}) {
        for (const auto& path : files(partial)) {
          fs::remove(path);
        }
      }
    }
    motet::write_file(document_, run.dump(2) + "\n");
    lock();
  }

 private:
  /// Files of the directory that a run makes; or those that it was writing when it was killed.
  std::vector<fs::path> files(bool partial) const {
    std::vector<fs::path> found;
    for (const auto& entry : fs::directory_iterator(options_.out)) {
      const auto file = entry.path().filename().string();
      const auto matches = [&](const std::string& name) {
        return partial ? file.starts_with(name + ".partial-") : file == name;
      };
      if (std::any_of(kMade.begin(), kMade.end(), matches) ||
          std::any_of(kCopied.begin(), kCopied.end(), matches) ||
          (partial && matches(document_.filename().string()))) {
        found.push_back(entry.path());
      }
    }
    return found;
  }

  void lock() {
    unlock();
    lock_ = ::open(document_.c_str(), O_RDONLY | O_CLOEXEC);
    motet::require(lock_ >= 0 && ::flock(lock_, LOCK_EX | LOCK_NB) == 0, options_.out.string(),
                   ": another motet-finetune is at work in it; wait, or stop that one first");
  }
  void unlock() {
    if (lock_ >= 0) {
      ::close(lock_);
    }
    lock_ = -1;
  }

  void check_same(const ordered_json& run) const {
    const auto earlier = ordered_json::parse(motet::read_file(document_), nullptr, false);
    motet::require(earlier.is_object(), document_.string(), ": is not a JSON object");
    const auto check = [&](const std::string& name, const ordered_json& found,
                           const ordered_json& wanted) {
      motet::require(found == wanted, document_.string(), ": is a run with another ", name,
                     ": it has ", found.dump(), ", this command has ", wanted.dump(),
                     "; choose another --out");
    };
    for (const auto* field : {"model", "text", "valid"}) {  // whatever they are called now
      auto found = earlier.value(field, ordered_json()), wanted = run[field];
      if (found.is_object() && wanted.is_object()) {
        found["name"] = wanted["name"];
      }
      check(field, found, wanted);
    }
    for (const auto* field : {"dtype", "seed", "device"}) {
      check(field, earlier.value(field, ordered_json()), run[field]);
    }
    const auto configuration = earlier.value("configuration", ordered_json::object());
    for (const auto& [name, value] : run["configuration"].items()) {
      check(name, configuration.value(name, ordered_json()), value);
    }
    for (const auto* field : {"version", "revision", "kernel", "threads"}) {
      const auto found = earlier.value(field, ordered_json());
      if (found != run[field]) {
        note(options_,
             fmt::format("note: this run began with {} {} and goes on with {}: losses may "
                         "differ in their last digits",
                         field, found.dump(), run[field].dump()));
      }
    }
  }

  const Options& options_;
  fs::path document_;
  int lock_ = -1;
};

/// A model in memory of its own, under the name that it will be saved with.
std::shared_ptr<motet::Decoder> first_model(const Options& options, motet::Config config,
                                            const std::string& name) {
  config.source["_name_or_path"] = name;
  if (!options.init.empty()) {
    return motet::initial_model(config, static_cast<uint64_t>(options.seed));
  }
  const auto stored = motet::load_model(model_path(options), {.dtype = torch::kFloat32});
  auto model = std::make_shared<motet::Decoder>(config);
  const torch::NoGradGuard no_grad;
  const auto values = stored->parameters();
  auto parameters = model->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    parameters[i].copy_(values[i]);
  }
  return model;
}

/// Steps, logs, validations and checkpoints, until all are done.
class Training {
 public:
  Training(const Options& options, const motet::TrainOptions& train, motet::Trainer& trainer,
           torch::Tensor valid_rows, fs::path tokenizer)
      : options_(options),
        train_(train),
        trainer_(trainer),
        valid_rows_(std::move(valid_rows)),
        tokenizer_(std::move(tokenizer)),
        checkpoints_(options.out) {
    checkpoints_.clean();
    if (const auto step = checkpoints_.last()) {
      trainer_.load(checkpoints_.path(*step));
      note(options, fmt::format("going on after step {} of {}", *step, train.steps));
    }
    log_.emplace(options.out / "log.jsonl", trainer_.steps_done());
    if (valid_rows_.defined()) {
      valid_.emplace(options.out / "valid.jsonl", trainer_.steps_done());
    }
  }

  void run() {
    try {
      steps();
      trainer_.check();
      save_result();
    } catch (const motet::NotFinite& error) {
      motet::fail(error.what(), "; ", kept(""));
    } catch (const program::Interrupted&) {
      throw;
    } catch (const motet::Error& error) {
      motet::fail(error.what(), "; ", kept(", and --resume goes on with it"));
    }
  }

  const motet::StepLog& log() const { return *log_; }
  const std::optional<motet::StepLog>& valid() const { return valid_; }

 private:
  void steps() {
    using Clock = std::chrono::steady_clock;
    const auto first = trainer_.steps_done();
    program::Progress progress("training", static_cast<double>(train_.steps - first),
                               options_.quiet);
    if (valid_ && valid_->lines().empty()) {
      validate();
    }
    const auto start = Clock::now();
    while (trainer_.steps_done() < train_.steps) {
      if (program::interrupted()) {
        interrupt();
      }
      const auto done = trainer_.step();
      log_->add({{"step", done.step},
                 {"loss", done.loss},
                 {"penalty", done.penalty ? ordered_json(*done.penalty) : ordered_json()},
                 {"weight", done.weight},
                 {"lr", done.learning_rate},
                 {"gradient_norm", done.gradient_norm},
                 {"tokens", done.tokens}});
      if (valid_ && due(options_.valid_every)) {
        validate();
      }
      if (due(options_.save_every)) {
        save();
      }
      const auto tokens = static_cast<double>(done.tokens / done.step * (done.step - first));
      const std::chrono::duration<double> elapsed = Clock::now() - start;
      progress.add(1, fmt::format("step {}, loss {:.3f}{}, {:.0f} tokens/s", done.step, done.loss,
                                  validated(), tokens / elapsed.count()));
    }
  }

  bool due(int64_t every) const {
    return trainer_.steps_done() % every == 0 || trainer_.steps_done() == train_.steps;
  }

  void validate() {
    const auto loss = trainer_.validate(valid_rows_);
    valid_->add({{"step", trainer_.steps_done()}, {"loss", loss}});
  }
  std::string validated() const {
    return valid_
               ? fmt::format(" (validation {:.3f})", valid_->lines().back()["loss"].get<double>())
               : "";
  }

  void save() {
    trainer_.check();
    log_->flush();  // a checkpoint's steps are always in the log
    if (valid_) {
      valid_->flush();
    }
    checkpoints_.save(trainer_.steps_done(), trainer_.bytes() + copied_bytes(),
                      [&](const fs::path& directory) {
                        trainer_.save(directory);
                        copy_files(directory);
                      });
  }

  [[noreturn]] void interrupt() {
    const auto done = trainer_.steps_done();
    if (done > checkpoints_.last().value_or(0)) {
      save();
    }
    throw program::Interrupted(
        done == 0
            ? "interrupted before the first step"
            : fmt::format("interrupted after step {} of {}; {} holds it, and --resume goes on "
                          "with it",
                          done, train_.steps, checkpoints_.path(done).string()));
  }

  void save_result() const {
    motet::require_space(options_.out, trainer_.bytes() / 3 + copied_bytes());
    copy_files(options_.out);
    motet::save_model(trainer_.model(), options_.out);
  }

  std::vector<fs::path> copied() const {
    std::vector<fs::path> paths;
    for (const auto* name : kCopied) {
      if (fs::exists(tokenizer_ / name)) {
        paths.push_back(tokenizer_ / name);
      }
    }
    return paths;
  }
  uint64_t copied_bytes() const {
    uint64_t bytes = 0;
    for (const auto& path : copied()) {
      bytes += fs::file_size(path);
    }
    return bytes;
  }
  void copy_files(const fs::path& directory) const {
    for (const auto& path : copied()) {
      motet::write_file(directory / path.filename(), motet::read_file(path));
    }
  }

  std::string kept(const std::string& hint) const {
    const auto step = checkpoints_.last();
    return step ? fmt::format("{} is kept{}", checkpoints_.path(*step).string(), hint)
                : "there is no checkpoint yet";
  }

  const Options& options_;
  const motet::TrainOptions& train_;
  motet::Trainer& trainer_;
  torch::Tensor valid_rows_;  // undefined: no validation
  fs::path tokenizer_;
  motet::Checkpoints checkpoints_;
  std::optional<motet::StepLog> log_, valid_;
};

/// Mean of a field over some lines of a log.
double mean_of(const std::vector<ordered_json>& lines, std::size_t first, std::size_t last,
               const char* field) {
  double sum = 0;
  for (auto i = first; i < last; ++i) {
    sum += lines[i][field].get<double>();
  }
  return sum / static_cast<double>(last - first);
}

void print_summary(const Options& options, const ordered_json& run, const Training& training) {
  const auto& lines = training.log().lines();
  if (lines.empty()) {
    fmt::print("Model: {}\nLog: gone\n", options.out.string());
    return;
  }
  const auto part = std::max<std::size_t>(1, lines.size() / 10);
  fmt::print("{}: {} steps, {} tokens, {}\n\n", run["model"]["name"].get<std::string>(),
             lines.size(), lines.back()["tokens"].get<int64_t>(), options.dtype);
  const auto change = [&](const char* field) {
    fmt::print("{:<12}{:>8.4f} -> {:.4f}\n", field, mean_of(lines, 0, part, field),
               mean_of(lines, lines.size() - part, lines.size(), field));
  };
  change("loss");
  if (!options.sparsity.empty()) {
    change("penalty");
  }
  if (training.valid()) {
    const auto& valid = training.valid()->lines();
    fmt::print("{:<12}{:>8.4f} -> {:.4f}\n", "validation", valid.front()["loss"].get<double>(),
               valid.back()["loss"].get<double>());
  }
  fmt::print("nats a token; loss: means of the first and the last {} steps\n\n", part);
  fmt::print("Log: {}\nModel: {}\n", (options.out / "log.jsonl").string(), options.out.string());
}

void finetune(const Options& options) {
  motet::return_freed_memory();
  const auto path = model_path(options);
  const bool fresh = !options.init.empty();
  const auto config = motet::load_config(path);
  const auto& tokenizer_path = fresh ? options.tokenizer : path;
  const auto tokenizer = motet::Tokenizer::load(tokenizer_path);
  motet::require(tokenizer.size() <= config.vocabulary, tokenizer_path.string(),
                 ": its tokenizer has ids up to ", tokenizer.size() - 1, ", but ",
                 fresh ? path.string() : "config.json", " gives the model a vocabulary of ",
                 config.vocabulary);
  const auto length = options.length.value_or(std::min<int64_t>(1024, config.positions));
  const auto train = train_options(options, config, tokenizer, length);
  const auto text = read_text(options, tokenizer, options.text, length);
  Text valid;
  if (!options.valid.empty()) {
    valid = read_text(options, tokenizer, {options.valid}, length);
    valid.rows = some_rows(valid.rows, options.valid_rows);
  }

  const auto own_name = config.source.value("_name_or_path", std::string());
  const auto directory = plain_path(fresh ? options.out : path).filename().string();
  const auto name = own_name.empty() ? directory : own_name;
  const ordered_json run{
      {"schema", 1},
      {"command", options.command},
      {"version", motet::version()},
      {"revision", motet::revision()},
      {"model",
       {{"name", name},
        {"hash", fresh ? motet::sha256(motet::read_file(path)) : motet::model_hash(path)}}},
      {"text", text.source},
      {"valid", valid.source},
      {"configuration", configuration_of(options, train, length)},
      {"seed", options.seed},
      {"dtype", options.dtype},
      {"device", options.device},
      {"kernel", options.device == "cpu" ? motet::kernel_name() : "portable"},
      {"threads", at::get_num_threads()}};
  Output output(options);
  auto model = first_model(options, config, fresh ? name : name + ", fine-tuned");
  model->to(torch::Device(options.device));
  motet::Trainer trainer(std::move(model), text.rows, train);
  output.claim(run, tokenizer_path);

  const auto tokens = train.batch * train.accumulate * length;
  note(options, fmt::format("{} rows of {} tokens, {} of them predicted; {} steps of {} tokens: "
                            "{:.2g} epochs",
                            text.rows.size(0), length, trainer.predicted(), train.steps, tokens,
                            static_cast<double>(train.steps * tokens) /
                                static_cast<double>(text.rows.numel())));
  Training training(options, train, trainer, valid.rows, tokenizer_path);
  training.run();
  print_summary(options, run, training);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains a model on text, from its weights or from scratch: on plain rows or on rows that "
      "are\n"
      "read in pieces, with a loss that makes attention sparse where asked. The result is a model\n"
      "in Hugging Face format.",
      "motet-finetune");
  Options options;
  add_options(app, options);
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error when writing, as a full disk
  return program::run(app, argc, argv, options, [&] { finetune(options); });
}
