#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <vector>

#include "motet/train/checkpoints.h"
#include "motet/train/training.h"

namespace motet {

/// How a training run is logged, validated and saved.
struct TrainingRunOptions {
  int64_t save_every = 50;   ///< steps between checkpoints
  int64_t valid_every = 50;  ///< steps between validations
  torch::Tensor valid_rows;  ///< [rows, length], as of text_rows; undefined: no validation
  /// Validations in a row without a lower loss after which the run ends; its result is then that of
  /// the lowest, which lies in `best/` meanwhile. 0: it goes on to the end, whose result it has.
  int64_t patience = 0;
  /// Files that are copied beside the weights, in checkpoints too, so that they are a model: those
  /// of the tokenizer.
  std::vector<std::filesystem::path> beside;

  /// Throws FieldError naming the first field out of range.
  void validate() const;
};

/// How far a training run is.
struct TrainingStatus {
  TrainStep step;                    ///< the last one
  std::optional<double> validation;  ///< the last one's loss, nats a token
};

/// A training run in a directory: steps, `log.jsonl` (a line a step), `valid.jsonl`, checkpoints
/// and, at the end, what the training is for. A run that was stopped or killed goes on from its
/// last checkpoint, to the same bytes.
class TrainingRun {
 public:
  /// Loads the last checkpoint into the trainer, if there is one; the trainer outlives the run.
  /// Throws Error.
  TrainingRun(Training& trainer, std::filesystem::path directory, TrainingRunOptions options);

  /// Steps until `steps` are done in all, or patience is, then saves the result. `go_on` is asked
  /// before each step; where it says no, what was done is saved in a checkpoint, and `run` returns
  /// false. `report` is told of each step. Throws Error, and NotFinite; checkpoints that are there
  /// stay.
  bool run(int64_t steps, const std::function<bool()>& go_on = {},
           const std::function<void(const TrainingStatus&)>& report = {});

  int64_t steps_done() const { return trainer_.steps_done(); }  ///< so far, earlier runs included
  /// The step that the result is of: the last, or with patience the one of the lowest validation.
  int64_t result_step() const;
  /// The last checkpoint's directory.
  std::optional<std::filesystem::path> checkpoint() const;
  const StepLog& log() const { return *log_; }                          ///< `log.jsonl`
  const std::optional<StepLog>& validations() const { return valid_; }  ///< `valid.jsonl`

 private:
  void validate();
  bool is_out_of_patience() const;
  void save();
  void save_result(const std::filesystem::path& directory) const;
  void take_best() const;
  void copy_files(const std::filesystem::path& directory) const;
  uint64_t copied_bytes() const;

  Training& trainer_;
  std::filesystem::path directory_;
  TrainingRunOptions options_;
  Checkpoints checkpoints_;
  std::optional<StepLog> log_, valid_;
};

}  // namespace motet
