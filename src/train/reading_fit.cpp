#include "motet/train/reading_fit.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "motet/error.h"
#include "motet/files/safetensors.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/names.h"
#include "motet/train/loss.h"
#include "train/state.h"

namespace motet {
namespace {

using torch::Tensor;

constexpr const char* kReadingFile = "reading.safetensors";
constexpr double kFarthestStart = 1000;  // steps lead on from there, and Learned has bounds, too
constexpr Names<NumbersOf, 3> kNames({{NumbersOf::kModel, "model"},
                                      {NumbersOf::kLayers, "layers"},
                                      {NumbersOf::kHeads, "heads"}});

std::vector<int64_t> ids_of(const Tensor& tokens) {
  const auto dense = tokens.contiguous();
  return {dense.const_data_ptr<int64_t>(), dense.const_data_ptr<int64_t>() + dense.numel()};
}

}  // namespace

NumbersOf numbers_of_named(std::string_view name) { return kNames.named("numbers of", name); }

std::string_view name_of(NumbersOf of) { return kNames.of(of); }

void ReadingFitOptions::validate() const {
  require(steps >= 1, Field("steps"), " ", steps, ": at least 1 is wanted");
  require(std::isfinite(learning_rate) && learning_rate > 0, Field("learning_rate"), " ",
          learning_rate, ": a number above 0 is wanted");
  require(warmup >= 0 && warmup < steps, Field("warmup"), " ", warmup, ": 0 to ", steps - 1,
          " of the ", steps, " steps are wanted");
  require(!pieces.empty(), Field("pieces"), ": at least one degree is wanted");
  for (const auto degree : pieces) {
    require(degree >= 2, Field("pieces"), " ", degree, ": degrees of at least 2 are wanted");
    require(std::count(pieces.begin(), pieces.end(), degree) == 1, Field("pieces"), ": the degree ",
            degree, " is given twice");
  }
  require(exponent >= 1 / kFarthestStart && exponent <= kFarthestStart, Field("exponent"), " ",
          exponent, ": b within ", 1 / kFarthestStart, " and ", kFarthestStart, " is wanted");
  require(std::abs(discount) <= kFarthestStart, Field("discount"), " ", discount, ": c within ",
          -kFarthestStart, " and ", kFarthestStart, " is wanted");
  require(!prefix_weight || !prefix.empty(), Field("prefix_weight"),
          ": there is no prefix to weigh");
}

ReadingFit::ReadingFit(std::shared_ptr<Decoder> model, Tensor rows, ReadingFitOptions options)
    : model_(std::move(model)),
      options_(std::move(options)),
      length_(length_of("motet::ReadingFit", rows)),
      rows_(std::move(rows), options_.seed),
      optimizer_(std::vector<Tensor>(),
                 torch::optim::AdamWOptions(options_.learning_rate).weight_decay(0)) {
  options_.validate();
  for (auto& parameter : model_->parameters()) {
    parameter.set_requires_grad(false);
  }
  const auto cut = [&](int64_t pieces, const std::vector<int64_t>& prefix) {
    cuts_.emplace(pieces, Cut(length_, {.pieces = pieces,
                                        .scored = options_.scored,
                                        .prefix = prefix,
                                        .positions = options_.positions}));
  };
  cut(1, {});
  for (const auto degree : options_.pieces) {
    cut(degree, options_.prefix);
  }
  const auto& config = model_->config();
  const auto layers = options_.numbers == NumbersOf::kModel ? 1 : config.layers;
  const auto heads = options_.numbers == NumbersOf::kHeads ? config.heads : 1;
  const auto add = [&](const char* name, double value) {
    parameters_.emplace_back(
        name,
        torch::full({layers, heads}, value, torch::dtype(torch::kFloat32).device(model_->device()))
            .requires_grad_());
    optimizer_.param_groups()[0].params().push_back(parameters_.back().second);
  };
  add("log_exponent", std::log(options_.exponent));
  add("discount", options_.discount);
  if (options_.prefix_weight) {
    add("prefix", 0);
  }
  if (options_.null_set) {
    add("null", 0);
  }
}

Tensor ReadingFit::parameter(const std::string& name) const {
  const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                  [&](const auto& one) { return one.first == name; });
  return found == parameters_.end() ? Tensor() : found->second;
}

LearnedNumbers ReadingFit::numbers() const {
  return {.exponent = parameter("log_exponent").exp(),
          .discount = parameter("discount"),
          .prefix = parameter("prefix"),
          .null = parameter("null")};
}

Learned ReadingFit::reading() const {
  const at::NoGradGuard no_grad;
  auto found = numbers();
  for (auto* number : {&found.discount, &found.prefix, &found.null}) {
    *number = number->defined() ? number->clone() : *number;
  }
  return Learned(std::move(found));
}

int64_t ReadingFit::degree(int64_t step) const {
  return options_.pieces[step % static_cast<int64_t>(options_.pieces.size())];
}

Tensor ReadingFit::loss(const Tensor& row, int64_t pieces, bool teach_full) const {
  const auto read = [&](const Cut& cut, const Reading& reading) {
    const auto tokens = ids_of(cut.tokens(row));
    const auto context = tokens.begin() + cut.layout().tokens();
    const std::vector<int64_t> query(context, tokens.end());
    const auto encoded = [&] {
      const at::NoGradGuard no_grad;
      return encode(*model_, {tokens.begin(), context}, cut.layout(), {},
                    {.reach = cut.positions()});
    }();
    return read_differentiable(*model_, encoded, query, reading);
  };
  const auto& cut = cuts_.at(pieces);
  const auto hidden = read(cut, Learned(numbers()));
  if (!teach_full) {
    return next_token_loss(*model_, hidden.unsqueeze(0),
                           cut.targets(row).slice(1, cut.layout().tokens()));
  }
  const auto teacher = [&] {
    const at::NoGradGuard no_grad;
    return read(cuts_.at(1), All());
  }();
  return divergence_loss(*model_, teacher, hidden);
}

TrainStep ReadingFit::step() {
  require(done_ < options_.steps, "motet::ReadingFit: all ", options_.steps, " steps are done");
  TrainStep result{.step = done_ + 1};
  optimizer_.zero_grad();
  const auto total = loss(rows_.take(done_, 1), degree(done_), options_.teach_full);
  result.loss = total.item<double>();
  check_finite(result.step, "loss", result.loss);
  total.backward();
  double squares = 0;
  for (const auto& [name, parameter] : parameters_) {
    squares += parameter.grad().square().sum().item<double>();
  }
  result.gradient_norm = std::sqrt(squares);
  check_finite(result.step, "norm of the gradient", result.gradient_norm);
  result.learning_rate =
      options_.learning_rate * cosine_schedule(result.step, options_.steps, options_.warmup);
  for (auto& group : optimizer_.param_groups()) {
    group.options().set_lr(result.learning_rate);
  }
  optimizer_.step();
  done_ = result.step;
  result.tokens = done_ * length_;
  return result;
}

void ReadingFit::check() {
  for (const auto& [name, parameter] : parameters_) {
    if (!parameter.detach().isfinite().all().item<bool>()) {
      throw NotFinite(
          c10::str("step ", done_, ": '", name, "' is not finite; a lower learning rate may help"));
    }
  }
}

double ReadingFit::validate(const Tensor& rows) const {
  require(length_of("motet::ReadingFit", rows) == length_ && rows.size(0) > 0,
          "motet::ReadingFit: validation rows are ", rows.sizes(), "; rows of ", length_,
          " tokens are wanted, as in fitting");
  const at::NoGradGuard no_grad;
  double sum = 0;
  for (const auto& row : rows.split(1)) {
    for (const auto degree : options_.pieces) {
      sum += loss(row, degree, /*teach_full=*/false).item<double>();
    }
  }
  const auto mean = sum / static_cast<double>(rows.size(0) * options_.pieces.size());
  check_finite(done_, "validation loss", mean);
  return mean;
}

uint64_t ReadingFit::bytes() const {
  uint64_t bytes = uint64_t{1} << 16;  // headers
  for (const auto& [name, parameter] : parameters_) {
    bytes += 3 * parameter.nbytes();
  }
  return bytes;
}

void ReadingFit::save_result(const std::filesystem::path& directory) const {
  auto about = about_;
  about["step"] = std::to_string(done_);
  reading().save(directory / kReadingFile, about);
}

void ReadingFit::save(const std::filesystem::path& directory) const {
  save_result(directory);
  // The parameters as they are: exp and ln of them would not go on to the same bits.
  auto tensors = moments_of(optimizer_, parameters_);
  for (const auto& [name, parameter] : parameters_) {
    tensors[name] = parameter;
  }
  save_safetensors(directory / kOptimizerFile, tensors);
  save_state(directory, {done_, options_.seed});
}

void ReadingFit::load(const std::filesystem::path& directory) {
  const auto step = load_state(directory, options_.steps, options_.seed);
  const auto path = directory / kOptimizerFile;
  const auto saved = SafeTensors::open(path);
  const at::NoGradGuard no_grad;
  for (auto& [name, parameter] : parameters_) {
    const auto value = saved.tensor(name);
    require(value.sizes() == parameter.sizes(), path.string(), ": '", name, "' is ", value.sizes(),
            ", this reading's ", parameter.sizes());
    parameter.copy_(value);
  }
  set_moments(optimizer_, parameters_, path, step);
  done_ = step;
}

}  // namespace motet
