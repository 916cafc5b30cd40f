#include "motet/train/optimizer.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "motet/error.h"
#include "motet/files/safetensors.h"

namespace motet {

namespace {

/// The operator takes lists: what every parameter with a gradient of a group is updated from.
struct Updates {
  std::vector<torch::Tensor> parameters, gradients, averages, squares, steps;
};

}  // namespace

torch::Tensor AdamW::step(LossClosure closure) {
  for (const auto& group : param_groups()) {
    const auto& options = static_cast<const torch::optim::AdamWOptions&>(group.options());
    for (const auto& parameter : group.params()) {
      if (options.amsgrad() || !parameter.is_cpu() || !parameter.is_contiguous()) {
        return torch::optim::AdamW::step(std::move(closure));
      }
    }
  }
  torch::Tensor loss;
  if (closure != nullptr) {
    const at::AutoGradMode with_gradients(true);
    loss = closure();
  }
  const at::NoGradGuard no_grad;
  for (const auto& group : param_groups()) {
    const auto& options = static_cast<const torch::optim::AdamWOptions&>(group.options());
    Updates updates;
    for (const auto& parameter : group.params()) {
      if (!parameter.grad().defined()) {
        continue;
      }
      auto& state = state_[parameter.unsafeGetTensorImpl()];
      if (state == nullptr) {
        auto first = std::make_unique<torch::optim::AdamWParamState>();
        first->exp_avg(torch::zeros_like(parameter));
        first->exp_avg_sq(torch::zeros_like(parameter));
        state = std::move(first);
      }
      auto& moments = static_cast<torch::optim::AdamWParamState&>(*state);
      moments.step(moments.step() + 1);
      updates.parameters.push_back(parameter);
      updates.gradients.push_back(parameter.grad().contiguous());
      updates.averages.push_back(moments.exp_avg());
      updates.squares.push_back(moments.exp_avg_sq());
      updates.steps.push_back(torch::tensor(static_cast<float>(moments.step())));
    }
    if (!updates.parameters.empty()) {
      const auto [beta1, beta2] = options.betas();
      at::_fused_adamw_(updates.parameters, updates.gradients, updates.averages, updates.squares,
                        /*max_exp_avg_sqs=*/{}, updates.steps, options.lr(), beta1, beta2,
                        options.weight_decay(), options.eps(), /*amsgrad=*/false,
                        /*maximize=*/false);
    }
  }
  return loss;
}

AdamW adamw(const Decoder& model, const torch::optim::AdamWOptions& options) {
  std::vector<torch::Tensor> decayed, plain;
  for (const auto& parameter : model.parameters()) {
    (parameter.dim() > 1 ? decayed : plain).push_back(parameter);
  }
  auto without_decay = std::make_unique<torch::optim::AdamWOptions>(options);
  without_decay->weight_decay(0);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decayed, std::make_unique<torch::optim::AdamWOptions>(options));
  groups.emplace_back(plain, std::move(without_decay));
  return AdamW(groups, options);
}

std::map<std::string, torch::Tensor> moments_of(const AdamW& optimizer,
                                                const NamedParameters& parameters) {
  std::map<std::string, torch::Tensor> tensors;
  const auto& states = optimizer.state();
  for (const auto& [name, parameter] : parameters) {
    const auto found = states.find(parameter.unsafeGetTensorImpl());
    if (found == states.end()) {
      continue;  // no step was taken yet
    }
    const auto& state = static_cast<const torch::optim::AdamWParamState&>(*found->second);
    tensors[name + ".exp_avg"] = state.exp_avg();
    tensors[name + ".exp_avg_sq"] = state.exp_avg_sq();
  }
  return tensors;
}

void set_moments(AdamW& optimizer, const NamedParameters& parameters,
                 const std::filesystem::path& path, int64_t steps) {
  optimizer.state().clear();
  if (steps == 0) {
    return;
  }
  const auto moments = SafeTensors::open(path);
  const auto moment = [&](const std::string& name, const torch::Tensor& like) {
    const auto tensor = moments.tensor(name);
    require(tensor.sizes() == like.sizes(), path.string(), ": '", name, "' is ", tensor.sizes(),
            ", the parameter ", like.sizes());
    return tensor.to(like.options(), /*non_blocking=*/false, /*copy=*/true);
  };
  const at::NoGradGuard no_grad;
  for (const auto& [name, parameter] : parameters) {
    if (!parameter.requires_grad()) {
      continue;
    }
    auto state = std::make_unique<torch::optim::AdamWParamState>();
    state->step(steps);
    state->exp_avg(moment(name + ".exp_avg", parameter));
    state->exp_avg_sq(moment(name + ".exp_avg_sq", parameter));
    optimizer.state()[parameter.unsafeGetTensorImpl()] = std::move(state);
  }
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
