#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "motet/train/optimizer.h"
#include "motet/train/sparsity.h"
#include "motet/train/text_rows.h"
#include "motet/train/training.h"

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

/// Trains a model on rows of text: one training loop, made of parts that another loop can use as
/// well. What a step does depends on the model, the rows and the options alone, so a run goes on
/// from a checkpoint to the same bits (on one machine, with one number of threads).
class Trainer : public Training {
 public:
  /// The model's parameters, in fp32 or float64, are trained in place. `rows` is [rows, length], of
  /// text_rows. Throws Error where options, model and rows do not go together, as where no row sees
  /// more keys than the budget of the penalty.
  Trainer(std::shared_ptr<Decoder> model, torch::Tensor rows, TrainOptions options);

  /// Takes the next step. Throws NotFinite, before a parameter is changed, and Error once all steps
  /// are done.
  TrainStep step() override;
  int64_t steps_done() const override { return done_; }
  int64_t predicted() const { return cut_.predicted(); }  ///< tokens of one row
  void check() override;
  double validate(const torch::Tensor& rows) const override;
  /// The model in Hugging Face format, the optimizer's state and the step.
  void save(const std::filesystem::path& directory) const override;
  uint64_t bytes() const override;
  void load(const std::filesystem::path& directory) override;
  /// The model in Hugging Face format.
  void save_result(const std::filesystem::path& directory) const override;

  const Decoder& model() const { return *model_; }  ///< as trained so far

 private:
  NamedParameters parameters() const;
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
