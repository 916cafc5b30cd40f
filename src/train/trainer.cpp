#include "motet/train/trainer.h"

#include <ATen/ATen.h>
#include <torch/nn/utils/clip_grad.h>

#include <cmath>
#include <limits>
#include <utility>

#include "motet/attention/budget.h"
#include "motet/context/layout.h"
#include "motet/files/safetensors.h"
#include "motet/model/forward.h"
#include "motet/model/weights.h"
#include "motet/train/loss.h"
#include "train/state.h"

namespace motet {
namespace {

using torch::Tensor;

/// The model with its parameters in memory of their own: no step reaches through to a mapped file,
/// and products see the same alignment, so the same bits, however they were loaded.
std::shared_ptr<Decoder> own(std::shared_ptr<Decoder> model) {
  require(model->dtype() == torch::kFloat32 || model->dtype() == torch::kFloat64,
          "motet::Trainer: the model is of ", model->dtype(),
          "; parameters are trained in fp32 (TrainOptions::dtype is that of the passes)");
  for (auto& parameter : model->parameters()) {
    parameter.set_data(parameter.detach().clone());
  }
  return model;
}

Cut cut_of(const Decoder& model, int64_t length, const TrainOptions& options) {
  options.validate();
  auto cut = options.cut ? Cut(length, *options.cut) : Cut(length);
  const auto& config = model.config();
  require(!config.learned_positions() || cut.positions() <= config.positions,
          "motet::Trainer: rows of ", length, " tokens need ", cut.positions(),
          " positions, the model has ", config.positions, "; choose shorter rows or more pieces");
  return cut;
}

}  // namespace

void TrainOptions::validate() const {
  require(steps >= 1, Field("steps"), " ", steps, ": at least 1 is wanted");
  constexpr int64_t kMost = 1 << 20;
  require(batch >= 1, Field("batch"), " ", batch, ": at least 1 row is wanted");
  require(batch <= kMost, Field("batch"), " ", batch, ": at most ", kMost, " rows; ",
          Field("accumulate"), " puts passes together");
  require(accumulate >= 1, Field("accumulate"), " ", accumulate, ": at least 1 pass is wanted");
  require(std::isfinite(learning_rate) && learning_rate > 0, Field("learning_rate"), " ",
          learning_rate, ": a number above 0 is wanted");
  require(warmup >= 0 && warmup < steps, Field("warmup"), " ", warmup, ": 0 to ", steps - 1,
          " of the ", steps, " steps are wanted");
  require(std::isfinite(decay) && decay >= 0, Field("decay"), " ", decay, ": 0 or more is wanted");
  require(std::isfinite(clip) && clip >= 0, Field("clip"), " ", clip, ": 0 or more is wanted");
}

Trainer::Trainer(std::shared_ptr<Decoder> model, Tensor rows, TrainOptions options)
    : model_(own(std::move(model))),
      options_(std::move(options)),
      length_(length_of("motet::Trainer", rows)),
      cut_(cut_of(*model_, length_, options_)),
      rows_(std::move(rows), options_.seed),
      precision_(*model_, options_.dtype.value_or(model_->dtype())),
      optimizer_(
          adamw(*model_,
                torch::optim::AdamWOptions(options_.learning_rate).weight_decay(options_.decay))) {
  if (options_.sparsity) {
    sparsity_.emplace(*options_.sparsity);
    const auto budget = options_.sparsity->budget();
    const auto& layout = cut_.layout();  // what follows its context sees the most keys
    const auto query = layout.prefix + length_ - 1 - layout.tokens();
    const auto sets = read_sets(layout.prefix, layout.pieces, {query}, {0});
    require(keys_of_rows(budget, sets).any().item<bool>(),
            "motet::Trainer: the penalty reaches no row: none sees more keys than its budget of ",
            budget.share ? c10::str("a share of ", *budget.share) : std::to_string(budget.keys),
            "; choose a smaller budget, or rows of more than ", length_, " tokens");
  }
}

Tensor Trainer::loss(const Tensor& rows, RowPenalty* penalty) const {
  const auto& model = precision_.working();
  const auto hidden = forward(model, cut_.tokens(rows), cut_.layout(), All(), {},
                              {.penalty = penalty, .checkpoint = options_.checkpoint});
  return next_token_loss(model, hidden, cut_.targets(rows));
}

TrainStep Trainer::step() {
  require(done_ < options_.steps, "motet::Trainer: all ", options_.steps, " steps are done");
  TrainStep result{.step = done_ + 1};
  const auto passes = static_cast<double>(options_.accumulate);
  const auto check = [&](const char* what, double value) {
    check_finite(result.step, what, value);
  };
  optimizer_.zero_grad();
  for (int64_t pass = 0; pass < options_.accumulate; ++pass) {
    const auto rows = rows_.take(place(done_) + pass * options_.batch, options_.batch);
    auto total = loss(rows, sparsity_ ? &*sparsity_ : nullptr);
    result.loss += total.item<double>() / passes;
    check("loss", result.loss);
    if (sparsity_) {
      result.penalty = result.penalty.value_or(0) + sparsity_->penalty().item<double>() / passes;
      check("penalty", *result.penalty);
      total = total + sparsity_->loss();
    }
    (total / passes).backward();
    precision_.gather();
  }
  const auto most = options_.clip > 0 ? options_.clip : std::numeric_limits<double>::infinity();
  result.gradient_norm = torch::nn::utils::clip_grad_norm_(model_->parameters(), most);
  check("norm of the gradient", result.gradient_norm);
  result.weight = sparsity_ ? sparsity_->weight() : 0;
  result.learning_rate =
      options_.learning_rate * cosine_schedule(result.step, options_.steps, options_.warmup);
  for (auto& group : optimizer_.param_groups()) {
    group.options().set_lr(result.learning_rate);
  }
  optimizer_.step();
  precision_.refresh();
  if (sparsity_) {
    sparsity_->step();
  }
  done_ = result.step;
  result.tokens = done_ * options_.accumulate * options_.batch * length_;
  return result;
}

void Trainer::check() {
  for (const auto& item : model_->named_parameters()) {
    if (!item.value().detach().isfinite().all().item<bool>()) {
      throw NotFinite(c10::str("step ", done_, ": its weights '", item.key(), "' are not finite; ",
                               kNotFiniteAdvice));
    }
  }
  const at::NoGradGuard no_grad;
  check_finite(done_, "loss of its weights",
               loss(rows_.take(place(done_), 1), nullptr).item<double>());
}

double Trainer::validate(const Tensor& rows) const {
  require(length_of("motet::Trainer", rows) == length_ && rows.size(0) > 0,
          "motet::Trainer: validation rows are ", rows.sizes(), "; rows of ", length_,
          " tokens are wanted, as in training");
  const at::NoGradGuard no_grad;
  double sum = 0;  // every row predicts equally many tokens
  for (const auto& some : rows.split(options_.batch)) {
    sum += loss(some, nullptr).item<double>() * static_cast<double>(some.size(0));
  }
  const auto mean = sum / static_cast<double>(rows.size(0));
  check_finite(done_, "validation loss", mean);
  return mean;
}

uint64_t Trainer::bytes() const {
  uint64_t bytes = uint64_t{1} << 20;  // headers, config.json
  for (const auto& parameter : model_->parameters()) {
    bytes += 3 * parameter.nbytes();  // and two moments
  }
  return bytes;
}

void Trainer::save(const std::filesystem::path& directory) const {
  save_model(*model_, directory);
  save_safetensors(directory / kOptimizerFile, moments_of(optimizer_, parameters()));
  save_state(directory, {done_, options_.seed});
}

void Trainer::save_result(const std::filesystem::path& directory) const {
  save_model(*model_, directory);
}

NamedParameters Trainer::parameters() const {
  NamedParameters parameters;
  for (const auto& item : model_->named_parameters()) {
    parameters.emplace_back(item.key(), item.value());
  }
  return parameters;
}

void Trainer::load(const std::filesystem::path& directory) {
  const auto step = load_state(directory, options_.steps, options_.seed);
  const auto saved = load_model(directory, {.dtype = model_->dtype(), .device = model_->device()});
  const auto values = saved->named_parameters();
  const at::NoGradGuard no_grad;
  for (auto& item : model_->named_parameters()) {
    auto& parameter = item.value();
    const auto* value = values.find(item.key());
    require(value != nullptr && value->sizes() == parameter.sizes(), directory.string(),
            ": is of another model: '", item.key(), "' differs");
    parameter.copy_(*value);
  }
  set_moments(optimizer_, parameters(), directory / kOptimizerFile, step);
  precision_.refresh();
  if (sparsity_) {
    sparsity_->step_to(step);
  }
  done_ = step;
}

}  // namespace motet
