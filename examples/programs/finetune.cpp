// motet-finetune: trains a model on text, as it is read in pieces where asked, with a loss that
// makes attention sparse where asked. After Sason et al. 2025, arXiv 2503.01564 v1 (since
// withdrawn).

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <map>
#include <nlohmann/json.hpp>

#include "finetune_options.h"
#include "finetune_output.h"
#include "motet/files/mapped.h"
#include "motet/files/sha256.h"
#include "motet/text/documents.h"
#include "motet/text/tokenizer.h"
#include "motet/train/initial.h"
#include "motet/train/run.h"
#include "motet/version.h"
#include "run_files.h"

namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;
using program::note;
using Options = program::FinetuneOptions;

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

/// A model in memory of its own, under the name that it will be saved with.
std::shared_ptr<motet::Decoder> first_model(const Options& options, motet::Config config,
                                            const std::string& name) {
  config.source["_name_or_path"] = name;
  if (!options.init.empty()) {
    return motet::initial_model(config, static_cast<uint64_t>(options.seed));
  }
  const auto stored =
      motet::load_model(program::model_path(options),
                        {.dtype = torch::kFloat32, .ignore_tensors = options.ignore_tensors});
  auto model = std::make_shared<motet::Decoder>(config);
  const torch::NoGradGuard no_grad;
  const auto values = stored->parameters();
  auto parameters = model->parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    parameters[i].copy_(values[i]);
  }
  return model;
}

/// Runs the training to its end. Throws Interrupted where the user stops it.
void train(const Options& options, int64_t steps, motet::TrainingRun& run) {
  using Clock = std::chrono::steady_clock;
  program::heed_signals();
  const auto first = run.steps_done();
  if (first > 0) {
    note(options, fmt::format("going on after step {} of {}", first, steps));
  }
  program::Progress progress("training", static_cast<double>(steps - first), options.quiet);
  const auto start = Clock::now();
  const auto report = [&](const motet::TrainingStatus& status) {
    const auto& done = status.step;
    const auto tokens = static_cast<double>(done.tokens / done.step * (done.step - first));
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    const auto validation =
        status.validation ? fmt::format(" (validation {:.3f})", *status.validation) : "";
    progress.add(1, fmt::format("step {}, loss {:.3f}{}, {:.0f} tokens/s", done.step, done.loss,
                                validation, tokens / elapsed.count()));
  };
  const auto kept = [&](const std::string& hint) {
    const auto last = run.checkpoint();
    return last ? fmt::format("{} is kept{}", last->string(), hint)
                : std::string("there is no checkpoint yet");
  };
  try {
    if (run.run(
            steps, [] { return !program::interrupted(); }, report)) {
      return;
    }
  } catch (const motet::NotFinite& error) {
    motet::fail(error.what(), "; ", kept(""));
  } catch (const motet::Error& error) {
    motet::fail(error.what(), "; ", kept(", and --resume goes on with it"));
  }
  const auto done = run.steps_done();
  throw program::Interrupted(
      done == 0 ? std::string("interrupted before the first step")
                : fmt::format("interrupted after step {} of {}; {} holds it, and --resume goes on "
                              "with it",
                              done, steps, run.checkpoint()->string()));
}

/// Mean of a field over some lines of a log.
double mean_of(const std::vector<ordered_json>& lines, std::size_t first, std::size_t last,
               const char* field) {
  double sum = 0;
  for (auto i = first; i < last; ++i) {
    sum += lines[i][field].get<double>();
  }
  return sum / static_cast<double>(last - first);
}

void print_summary(const Options& options, const ordered_json& run,
                   const motet::TrainingRun& training) {
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
  if (training.validations()) {
    const auto& valid = training.validations()->lines();
    fmt::print("{:<12}{:>8.4f} -> {:.4f}\n", "validation", valid.front()["loss"].get<double>(),
               valid.back()["loss"].get<double>());
  }
  fmt::print("nats a token; loss: means of the first and the last {} steps\n", part);
  if (options.teach == "full") {
    fmt::print("loss: divergence from full reading{}\n",
               training.validations() ? "; validation: of the text's own tokens" : "");
  }
  if (options.patience > 0) {
    fmt::print("The result is that of step {}, whose validation loss is the lowest\n",
               training.result_step());
  }
  fmt::print("\n");
  fmt::print("Log: {}\n", (options.out / "log.jsonl").string());
  if (options.tune == "reading") {
    const auto file = options.out / "reading.safetensors";
    fmt::print("Reading: {}; --readings learned:{}\n", file.string(), file.string());
  } else {
    fmt::print("Model: {}\n", options.out.string());
  }
}

/// What the file of a reading says of how it came about.
std::map<std::string, std::string> about_reading(const Options& options, const ordered_json& run) {
  auto texts = ordered_json::array();
  for (const auto& path : options.text) {
    texts.push_back(program::plain_path(path).filename().string());
  }
  std::map<std::string, std::string> about{{"model", run["model"]["name"]},
                                           {"model_hash", run["model"]["hash"]},
                                           {"texts", texts.dump()},
                                           {"motet", run["version"]}};
  for (const auto* field : {"text", "valid", "configuration", "seed"}) {
    about[field] = run[field].dump();
  }
  for (const auto* field : {"revision", "dtype", "device", "kernel", "products"}) {
    about[field] = run[field];
  }
  return about;
}

void finetune(const Options& options) {
  const auto path = program::model_path(options);
  const bool fresh = !options.init.empty();
  const auto config = motet::load_config(path);
  const auto& tokenizer_path = fresh ? options.tokenizer : path;
  const auto tokenizer = motet::Tokenizer::load(tokenizer_path);
  motet::require(tokenizer.size() <= config.vocabulary, tokenizer_path.string(),
                 ": its tokenizer has ids up to ", tokenizer.size() - 1, ", but ",
                 fresh ? path.string() : "config.json", " gives the model a vocabulary of ",
                 config.vocabulary);
  const auto length = options.length.value_or(std::min<int64_t>(1024, config.positions));
  const bool reading = options.tune == "reading";
  const auto fit =
      reading ? program::fit_options(options, tokenizer, length) : motet::ReadingFitOptions();
  const auto training =
      reading ? motet::TrainOptions() : program::train_options(options, config, tokenizer, length);
  const auto text = read_text(options, tokenizer, options.text, length);
  Text valid;
  if (!options.valid.empty()) {
    valid = read_text(options, tokenizer, {options.valid}, length);
    valid.rows = some_rows(valid.rows, options.valid_rows);
  }

  const auto own_name = program::own_name(config);
  const auto directory = program::plain_path(fresh ? options.out : path).filename().string();
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
      {"configuration", reading ? program::configuration_of(options, fit, length)
                                : program::configuration_of(options, training, length)},
      {"seed", options.seed},
      {"dtype", options.dtype},
      {"device", options.device},
      {"kernel", program::kernel_of(options)},
      {"products", program::products_of(options)},
      {"threads", at::get_num_threads()}};
  auto saving = options.saving();
  saving.valid_rows = valid.rows;
  if (reading) {
    auto model = motet::load_model(path, options.load());
    motet::ReadingFit fitting(std::move(model), text.rows, fit);
    fitting.describe(about_reading(options, run));
    const auto lock = program::claim_training(options, run, tokenizer_path);
    note(
        options,
        fmt::format("{} rows of {} tokens, {} of each predicted, in {} pieces by turns; {} steps",
                    text.rows.size(0), length, fit.scored, fmt::join(fit.pieces, ", "), fit.steps));
    motet::TrainingRun fitting_run(fitting, options.out, std::move(saving));
    train(options, fit.steps, fitting_run);
    print_summary(options, run, fitting_run);
    return;
  }
  auto model = first_model(options, config, fresh ? name : name + ", fine-tuned");
  model->to(torch::Device(options.device));
  motet::Trainer trainer(std::move(model), text.rows, training);
  const auto lock = program::claim_training(options, run, tokenizer_path);

  const auto tokens = training.batch * training.accumulate * length;
  note(options, fmt::format("{} rows of {} tokens, {} of them predicted; {} steps of {} tokens: "
                            "{:.2g} epochs",
                            text.rows.size(0), length, trainer.predicted(), training.steps, tokens,
                            static_cast<double>(training.steps * tokens) /
                                static_cast<double>(text.rows.numel())));
  saving.beside = program::tokenizer_files(tokenizer_path);
  motet::TrainingRun training_run(trainer, options.out, std::move(saving));
  train(options, training.steps, training_run);
  print_summary(options, run, training_run);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Trains a model on text, from its weights or from scratch: on plain rows or on rows that "
      "are\n"
      "read in pieces, with a loss that makes attention sparse where asked. The result is a model\n"
      "in Hugging Face format. --tune reading leaves the weights alone and fits how pieces are "
      "merged.",
      "motet-finetune");
  Options options;
  program::add_finetune_options(app, options);
  options.flags = {{"learning_rate", "--lr"}, {"exponent", "--start"}, {"discount", "--start"}};
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on file sizes is an error when writing, as a full disk
  return program::run(app, argc, argv, options, [&] { finetune(options); });
}
