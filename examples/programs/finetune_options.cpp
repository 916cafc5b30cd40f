#include "finetune_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "motet/context/layout.h"
#include "motet/model/hub.h"

namespace program {

using nlohmann::ordered_json;

namespace {

void add_training_options(CLI::App& app, FinetuneOptions& options) {
  auto& train = options.train;
  app.add_option("--text", options.text,
                 "UTF-8 files, folders of .txt and .jsonl files, or - for standard input; rows do\n"
                 "not run from one text into the next")
      ->required();
  app.add_option("--field", options.field, "of a .jsonl line that is an object")
      ->capture_default_str();
  app.add_option("--steps", options.steps, "100, or 60 of --tune reading, unless given");
  app.add_option("--batch", train.batch, "rows of one pass")->capture_default_str();
  app.add_option("--accumulate", train.accumulate, "passes of one step")->capture_default_str();
  app.add_option("--length", options.length,
                 "tokens of a row; the smaller of 1024 and the model's positions, unless given");
  app.add_option("--lr", options.lr,
                 "largest learning rate; 5e-05, or 0.04 of --tune reading, unless given");
  app.add_option("--warmup", options.warmup,
                 "steps over which the learning rate rises; a tenth of --steps, or none of --tune\n"
                 "reading, unless given. It falls along half a cosine after them");
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
  app.add_option("--patience", options.patience,
                 "validations in a row without a lower loss that end the run; its result is then\n"
                 "that of the lowest. 0: it goes on to the end, whose result it has")
      ->needs(valid)
      ->capture_default_str();
}

void add_piece_options(CLI::App& app, FinetuneOptions& options) {
  auto* pieces = app.add_option("--pieces", options.pieces,
                                "degree P: rows are read in pieces, as motet-compare reads a "
                                "segment;\nplain causal rows, unless given. --tune reading takes "
                                "several, by turns")
                     ->delimiter(',');
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

void add_sparsity_options(CLI::App& app, FinetuneOptions& options) {
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

void add_reading_options(CLI::App& app, FinetuneOptions& options) {
  auto* pieces = app.get_option("--pieces");
  auto* tune = app.add_option("--tune", options.tune,
                              "weights, or reading: the exponent b and the discount c with which "
                              "each head\nmerges pieces; the weights stay as they are")
                   ->check(CLI::IsMember({"weights", "reading"}))
                   ->capture_default_str();
  const auto add = [&](CLI::Option* option) {
    option->needs(tune)->needs(pieces);
    options.of_readings.push_back(option);
  };
  add(app.add_option("--teach", options.teach,
                     "what the reading learns from: the row's own tokens, or full reading of it.\n"
                     "--valid goes by own tokens in either case")
          ->check(CLI::IsMember({"own", "full"}))
          ->capture_default_str());
  add(app.add_option("--numbers", options.numbers, "of the whole model, its layers or its heads")
          ->check(CLI::IsMember({"model", "layers", "heads"}))
          ->capture_default_str());
  add(app.add_option("--start", options.start, "b:c, to begin with")->capture_default_str());
  add(app.add_flag("--prefix-weight", options.prefix_weight, "the prefix is weighed, too"));
  add(app.add_flag("--null-set", options.null_set,
                   "rows have a set without keys, whose lse is learned"));
}

}  // namespace

void add_finetune_options(CLI::App& app, FinetuneOptions& options) {
  add_options(app, options);
  add_config_option(app, options);
  app.get_option("--config")
      ->description("training.json of a run to repeat; options beside it replace its own");
  app.get_option("--model")
      ->required(false)
      ->envname("")  // which would clash with --init
      ->description(
          "directory of a model in Hugging Face format, or its id in the local hub cache;\n"
          "$MOTET_MODEL, unless given");
  app.get_option("--dtype")->description(
      "of passes; weights and their steps are float32, but with --tune reading the\n"
      "weights are read in it, too");
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
  add_reading_options(app, options);
  for (const auto* name : {"--init", "--sparsity", "--batch", "--accumulate", "--clip", "--decay",
                           "--checkpoint-activations", "--loss"}) {
    options.of_weights.push_back(app.get_option(name));
  }
}

fs::path model_path(const FinetuneOptions& options) {
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

namespace {

motet::SparsityOptions sparsity_options(const FinetuneOptions& options,
                                        const motet::Config& config) {
  auto sparse = options.sparse;
  sparse.penalty = motet::penalty_named(options.sparsity);
  sparse.counts_first = !options.first_is_free;
  if (sparse.floor != 0 && sparse.penalty != motet::Penalty::kHinge) {
    throw UsageError("--floor is of --sparsity hinge alone");
  }
  check_options(options, [&] { sparse.validate(); });
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

}  // namespace

namespace {

/// Throws UsageError where one of these options was given: it would say nothing.
void refuse(const std::vector<const CLI::Option*>& given, const char* beside, const char* whose) {
  for (const auto* option : given) {
    if (option->count() > 0) {
      throw UsageError(fmt::format("{}: {} is of {}", beside, option->get_name(), whose));
    }
  }
}

ordered_json valid_configuration(const FinetuneOptions& options) {
  return {
      {"every", options.valid_every}, {"rows", options.valid_rows}, {"patience", options.patience}};
}

void check_valid_rows(const FinetuneOptions& options) {
  if (options.valid_rows < 1) {
    throw UsageError(fmt::format("--valid-rows {}: at least 1 is wanted", options.valid_rows));
  }
}

}  // namespace

motet::TrainOptions train_options(const FinetuneOptions& options, const motet::Config& config,
                                  const motet::Tokenizer& tokenizer, int64_t length) {
  auto train = options.train;
  train.steps = options.steps.value_or(train.steps);
  train.learning_rate = options.lr.value_or(train.learning_rate);
  train.warmup = options.warmup.value_or(train.steps / 10);
  train.seed = static_cast<uint64_t>(options.seed);
  train.dtype = options.load().dtype;
  refuse(options.of_readings, "--tune weights", "the fit of a reading");
  check_valid_rows(options);
  if (options.pieces.size() > 1) {
    throw UsageError("--pieces: weights are trained at one degree; several are of --tune reading");
  }
  if (!options.pieces.empty()) {
    train.cut = {.pieces = options.pieces[0],
                 .scored = options.scored.value_or(std::max<int64_t>(1, length / 4)),
                 .prefix = tokenizer.encode(unescaped(options.prefix)).ids,
                 .positions = motet::positions_named(options.positions),
                 .context = options.loss == "all"};
  }
  if (!options.sparsity.empty()) {
    train.sparsity = sparsity_options(options, config);
  }
  check_options(options, [&] {
    options.saving().validate();
    train.validate();
    const auto fits = train.cut ? motet::Cut(length, *train.cut) : motet::Cut(length);
  });
  return train;
}

motet::ReadingFitOptions fit_options(const FinetuneOptions& options,
                                     const motet::Tokenizer& tokenizer, int64_t length) {
  refuse(options.of_weights, "--tune reading", "the training of weights");
  check_valid_rows(options);
  if (options.pieces.empty()) {
    throw UsageError("--tune reading: --pieces is wanted: degrees to read at, by turns");
  }
  motet::ReadingFitOptions fit{.seed = static_cast<uint64_t>(options.seed),
                               .pieces = options.pieces,
                               .scored = options.scored.value_or(std::max<int64_t>(1, length / 4)),
                               .prefix = tokenizer.encode(unescaped(options.prefix)).ids,
                               .positions = motet::positions_named(options.positions),
                               .numbers = motet::numbers_of_named(options.numbers),
                               .prefix_weight = options.prefix_weight,
                               .null_set = options.null_set,
                               .teach_full = options.teach == "full"};
  fit.steps = options.steps.value_or(fit.steps);
  fit.learning_rate = options.lr.value_or(fit.learning_rate);
  fit.warmup = options.warmup.value_or(fit.warmup);
  const auto colon = options.start.find(':');
  const auto number = [&](std::size_t first, std::size_t last, double& to) {
    const auto* end = options.start.data() + last;
    const auto [rest, error] = std::from_chars(options.start.data() + first, end, to);
    return error == std::errc() && rest == end;
  };
  if (colon == std::string::npos || !number(0, colon, fit.exponent) ||
      !number(colon + 1, options.start.size(), fit.discount)) {
    throw UsageError(fmt::format("--start {}: two numbers are wanted, b:c", options.start));
  }
  check_options(options, [&] {
    options.saving().validate();
    fit.validate();
    for (const auto degree : fit.pieces) {
      motet::Cut(length, {.pieces = degree, .scored = fit.scored});
    }
  });
  return fit;
}

ordered_json configuration_of(const FinetuneOptions& options, const motet::ReadingFitOptions& fit,
                              int64_t length) {
  ordered_json json{{"tune", "reading"},
                    {"steps", fit.steps},
                    {"length", length},
                    {"lr", fit.learning_rate},
                    {"warmup", fit.warmup},
                    {"pieces", fit.pieces},
                    {"scored", fit.scored},
                    {"prefix", fit.prefix},
                    {"positions", options.positions},
                    {"teach", options.teach},
                    {"numbers", options.numbers},
                    {"start", options.start},
                    {"prefix_weight", fit.prefix_weight},
                    {"null_set", fit.null_set},
                    {"valid", nullptr}};
  if (!options.valid.empty()) {
    json["valid"] = valid_configuration(options);
  }
  return json;
}

ordered_json configuration_of(const FinetuneOptions& options, const motet::TrainOptions& train,
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
    json["valid"] = valid_configuration(options);
  }
  return json;
}

}  // namespace program
