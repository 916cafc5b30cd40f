#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "motet/reading/learned.h"
#include "motet/train/optimizer.h"
#include "motet/train/text_rows.h"
#include "motet/train/training.h"

namespace motet {

/// Who has numbers of their own in a Learned reading.
enum class NumbersOf { kModel, kLayers, kHeads };

/// `model`, `layers` or `heads`. Throws Error for another name.
NumbersOf numbers_of_named(std::string_view name);
/// The reverse of numbers_of_named.
std::string_view name_of(NumbersOf of);

/// What a ReadingFit does.
struct ReadingFitOptions {
  int64_t steps = 60;                        ///< in all, of one row each
  double learning_rate = 0.04;               ///< the largest
  int64_t warmup = 0;                        ///< steps, of cosine_schedule
  uint64_t seed = 0;                         ///< of the order of rows
  std::vector<int64_t> pieces{8};            ///< degrees P, of at least 2, each once, by turns
  int64_t scored = 256;                      ///< tokens at a row's end, as in CutOptions
  std::vector<int64_t> prefix = {};          ///< tokens before all pieces
  Positions positions = Positions::kSpread;  ///< of the pieces' tokens
  NumbersOf numbers = NumbersOf::kHeads;     ///< who has their own
  bool prefix_weight = false;                ///< the prefix has a log weight, too, from 0 on
  bool null_set = false;                     ///< rows have a set without keys, of lse 0 at first
  double exponent = 1.5;                     ///< b, to begin with, of a thousandth to a thousand
  double discount = 0.6;                     ///< c, to begin with, of at most a thousand
  /// What is learned from: full reading of the same row by the same model (divergence_loss), or the
  /// row's own tokens.
  bool teach_full = false;

  /// Throws FieldError naming the first field out of range.
  void validate() const;
};

/// Fits the numbers of a Learned reading to rows of text. The model's weights stay as they are: a
/// row's context is encoded without a gradient, and its query read with one.
class ReadingFit : public Training {
 public:
  /// The model's parameters are marked as wanting no gradient. `rows` is [rows, length], of
  /// text_rows. Throws Error where options, model and rows do not go together.
  ReadingFit(std::shared_ptr<Decoder> model, torch::Tensor rows, ReadingFitOptions options);

  TrainStep step() override;
  int64_t steps_done() const override { return done_; }
  void check() override;
  /// Of all degrees, of the rows' own tokens, whatever is learned from.
  double validate(const torch::Tensor& rows) const override;
  /// The reading, as in `save_result`, the optimizer's state and the step.
  void save(const std::filesystem::path& directory) const override;
  uint64_t bytes() const override;
  void load(const std::filesystem::path& directory) override;
  /// `reading.safetensors`: see Learned::load. What `describe` was told stands in its metadata, and
  /// the `step` that it is of.
  void save_result(const std::filesystem::path& directory) const override;

  /// What the file of the reading says of itself beside its degrees: model, texts, command.
  void describe(std::map<std::string, std::string> about) { about_ = std::move(about); }
  Learned reading() const;  ///< as fitted so far

 private:
  LearnedNumbers numbers() const;
  /// Of one row, [1, length], at one degree; differentiable in the numbers.
  torch::Tensor loss(const torch::Tensor& row, int64_t pieces, bool teach_full) const;
  int64_t degree(int64_t step) const;  // of the step after so many

  std::shared_ptr<Decoder> model_;
  ReadingFitOptions options_;
  int64_t length_;
  std::map<int64_t, Cut> cuts_;  // of each degree, and of full reading
  ShuffledRows rows_;
  /// The parameter of this name; undefined where there is none.
  torch::Tensor parameter(const std::string& name) const;
  NamedParameters parameters_;  // log_exponent, discount, prefix, null
  AdamW optimizer_;
  std::map<std::string, std::string> about_;
  int64_t done_ = 0;
};

}  // namespace motet
