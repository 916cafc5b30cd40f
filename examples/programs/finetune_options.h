#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "motet/model/config.h"
#include "motet/text/tokenizer.h"
#include "motet/train/reading_fit.h"
#include "motet/train/run.h"
#include "motet/train/trainer.h"
#include "program.h"

/// The command line of motet-finetune.
namespace program {

namespace fs = std::filesystem;

struct FinetuneOptions : Options {
  fs::path init, tokenizer, valid;
  std::vector<fs::path> text;
  std::optional<int64_t> length, warmup, scored, steps;
  std::optional<double> lr;
  std::vector<int64_t> pieces;
  std::string field = "text", prefix, loss = "scored", positions = "spread";
  motet::TrainOptions train;
  std::string sparsity;
  motet::SparsityOptions sparse;
  bool first_is_free = false;
  std::string tune = "weights", teach = "own", numbers = "heads", start = "1.5:0.6";
  bool prefix_weight = false, null_set = false;
  std::vector<const CLI::Option*> of_weights, of_readings;  // what the other --tune refuses
  int64_t save_every = 50, valid_every = 50, valid_rows = 32, patience = 0;

  /// When to save and to validate.
  motet::TrainingRunOptions saving() const {
    return {.save_every = save_every, .valid_every = valid_every, .patience = patience};
  }
};

void add_finetune_options(CLI::App& app, FinetuneOptions& options);

/// The model's directory, or config.json.
fs::path model_path(const FinetuneOptions& options);

/// What the options ask for, checked before a text is read.
motet::TrainOptions train_options(const FinetuneOptions& options, const motet::Config& config,
                                  const motet::Tokenizer& tokenizer, int64_t length);

/// The same of --tune reading.
motet::ReadingFitOptions fit_options(const FinetuneOptions& options,
                                     const motet::Tokenizer& tokenizer, int64_t length);

/// The `configuration` of training.json.
nlohmann::ordered_json configuration_of(const FinetuneOptions& options,
                                        const motet::TrainOptions& train, int64_t length);
nlohmann::ordered_json configuration_of(const FinetuneOptions& options,
                                        const motet::ReadingFitOptions& fit, int64_t length);

}  // namespace program
