#include "motet/train/optimizer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "motet/error.h"

namespace motet {

torch::optim::AdamW adamw(const Decoder& model, const torch::optim::AdamWOptions& options) {
  std::vector<torch::Tensor> decayed, plain;
  for (const auto& parameter : model.parameters()) {
    (parameter.dim() > 1 ? decayed : plain).push_back(parameter);
  }
  auto without_decay = std::make_unique<torch::optim::AdamWOptions>(options);
  without_decay->weight_decay(0);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decayed, std::make_unique<torch::optim::AdamWOptions>(options));
  groups.emplace_back(plain, std::move(without_decay));
  return torch::optim::AdamW(groups, options);
}

double cosine_schedule(int64_t step, int64_t steps, int64_t warmup) {
  require(0 <= warmup && warmup < steps && 1 <= step && step <= steps,
          "motet::cosine_schedule: step ", step, " of ", steps, ", ", warmup, " of them warm-up");
  if (step <= warmup) {
    return static_cast<double>(step) / static_cast<double>(warmup + 1);
  }
  const auto progress =
      static_cast<double>(step - 1 - warmup) / static_cast<double>(steps - warmup);
  return 0.5 * (1 + std::cos(std::numbers::pi * progress));
}

MixedPrecision::MixedPrecision(const Decoder& model, torch::ScalarType dtype) : model_(model) {
  if (dtype != model.dtype()) {
    copy_ = std::make_shared<Decoder>(model.config());
    copy_->to(model.device(), dtype);
    refresh();
  }
}

void MixedPrecision::gather() {
  if (copy_ == nullptr) {
    return;
  }
  const auto copies = copy_->parameters();
  auto parameters = model_.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    auto& gradient = copies[i].mutable_grad();
    if (!gradient.defined()) {
      continue;
    }
    auto& sum = parameters[i].mutable_grad();
    sum = sum.defined() ? sum.add_(gradient) : gradient.to(parameters[i].scalar_type());
    gradient.reset();
  }
}

void MixedPrecision::refresh() {
  if (copy_ == nullptr) {
    return;
  }
  const at::NoGradGuard no_grad;
  auto copies = copy_->parameters();
  const auto parameters = model_.parameters();
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    copies[i].copy_(parameters[i]);
  }
}

}  // namespace motet
