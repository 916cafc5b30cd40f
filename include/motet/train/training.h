#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <optional>

#include "motet/error.h"

namespace motet {

/// What one step did.
struct TrainStep {
  int64_t step = 0;  ///< counts from 1
  /// Before the step, nats a token: of the language model, or what takes its place, such as
  /// ReadingFitOptions::teach_full.
  double loss = 0;
  std::optional<double> penalty = {};  ///< mean l of SparsityOptions::penalty, without its weight
  double weight = 0;                   ///< that the penalty had
  double learning_rate = 0;            ///< of this step
  double gradient_norm = 0;            ///< before clipping
  int64_t tokens = 0;                  ///< of text, in all steps so far
};

/// A loss or a gradient that is not a finite number.
class NotFinite : public Error {
 public:
  using Error::Error;
};

/// What a TrainingRun steps, saves and goes on with: the parameters of a model (Trainer), or the
/// numbers of a reading (ReadingFit). What a step does depends on the options and the step alone,
/// so that a run that was stopped goes on to the same bits.
class Training {
 public:
  virtual ~Training() = default;

  /// Takes the next step. Throws NotFinite, before anything is changed, and Error once all steps
  /// are done.
  virtual TrainStep step() = 0;
  virtual int64_t steps_done() const = 0;  ///< so far
  /// Throws NotFinite where a parameter is not finite, or the loss of the next row: what `step` can
  /// only see one step later. Wanted before a checkpoint takes the place of a good one.
  virtual void check() = 0;
  /// Mean loss of the language model over rows of text, [rows, length]; nats a token. Throws
  /// NotFinite.
  virtual double validate(const torch::Tensor& rows) const = 0;

  /// Writes all that `load` needs into `directory`. Not atomic by itself: see Checkpoints. Throws
  /// Error.
  virtual void save(const std::filesystem::path& directory) const = 0;
  virtual uint64_t bytes() const = 0;  ///< that `save` takes, about
  /// Goes on from what `save` wrote. Throws Error where it is of something else or other options.
  virtual void load(const std::filesystem::path& directory) = 0;
  /// Writes what the training is for. Throws Error.
  virtual void save_result(const std::filesystem::path& directory) const = 0;
};

}  // namespace motet
