#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "motet/error.h"
#include "motet/train/optimizer.h"
#include "motet/train/sparsity.h"
#include "motet/train/text_rows.h"

namespace motet {

/// What a Trainer does.
struct TrainOptions {
  int64_t steps = 100;                           ///< in all
  int64_t batch = 1;                             ///< rows of one pass
  int64_t accumulate = 1;                        ///< passes of one step
  double learning_rate = 5e-5;                   ///< the largest
  int64_t warmup = 0;                            ///< steps, of cosine_schedule
  double decay = 0.01;                           ///< see adamw
  double clip = 1;                               ///< largest norm of a step's gradient; 0: any
  uint64_t seed = 0;                             ///< of the order of rows
  std::optional<CutOptions> cut = {};            ///< nothing: plain causal rows
  std::optional<SparsityOptions> sparsity = {};  ///< nothing: the loss of the language model alone
  std::optional<torch::ScalarType> dtype = {};  ///< of passes (see MixedPrecision); the model's own
  bool checkpoint = false;                      ///< see ForwardOptions

  /// Throws FieldError naming the first field out of range.
  void validate() const;
};

/// What one step did.
struct TrainStep {
  int64_t step = 0;                    ///< counts from 1
  double loss = 0;                     ///< of the language model, before the step; nats a token
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

/// Trains a model on rows of text: one training loop, made of parts that another loop can use as
/// well. What a step does depends on the model, the rows and the options alone, so a run goes on
/// from a checkpoint to the same bits (on one machine, with one number of threads).
class Trainer {
 public:
  /// The model's parameters, in fp32 or float64, are trained in place. `rows` is [rows, length], of
  /// text_rows. Throws Error where options, model and rows do not go together, as where no row sees
  /// more keys than the budget of the penalty.
  Trainer(std::shared_ptr<Decoder> model, torch::Tensor rows, TrainOptions options);

  /// Takes the next step. Throws NotFinite, before a parameter is changed, and Error once all steps
  /// are done.
  TrainStep step();
  int64_t steps_done() const { return done_; }            ///< so far
  int64_t predicted() const { return cut_.predicted(); }  ///< tokens of one row

  /// Throws NotFinite where a parameter is not finite, or the loss of the next row: what `step` can
  /// only see one step later. Wanted before a checkpoint takes the place of a good one.
  void check();
  /// Mean loss of the language model over rows of text, [rows, length]; nats a token. Throws
  /// NotFinite.
  double validate(const torch::Tensor& rows) const;

  /// Writes the model in Hugging Face format, the optimizer's state and the step into `directory`.
  /// Not atomic by itself: see Checkpoints. Throws Error.
  void save(const std::filesystem::path& directory) const;
  uint64_t bytes() const;  ///< that `save` takes, about
  /// Goes on from what `save` wrote. Throws Error where it is of another model or other options.
  void load(const std::filesystem::path& directory);

  const Decoder& model() const { return *model_; }  ///< as trained so far

 private:
  /// The first row of the step after so many, in the order of rows_.
  int64_t place(int64_t steps) const { return steps * options_.accumulate * options_.batch; }
  /// Loss of the language model over some rows; differentiable. The penalty is left in sparsity_.
  torch::Tensor loss(const torch::Tensor& rows, RowPenalty* penalty) const;

  std::shared_ptr<Decoder> model_;
  TrainOptions options_;
  int64_t length_;
  Cut cut_;
  ShuffledRows rows_;
  MixedPrecision precision_;
  AdamW optimizer_;
  std::optional<Sparsity> sparsity_;
  int64_t done_ = 0;
};

}  // namespace motet
