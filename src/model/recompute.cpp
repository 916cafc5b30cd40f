#include "model/recompute.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "attention/once_differentiable.h"

namespace motet {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Kept : torch::CustomClassHolder {
  explicit Kept(std::shared_ptr<const BlockCall> call) : call(std::move(call)) {}
  std::shared_ptr<const BlockCall> call;
};

/// The gradients of the call's outputs, carried to what is wanted.
variable_list differentiate(const BlockCall& call, const Tensor& x, const variable_list& wanted,
                            const variable_list& gradients) {
  const at::AutoGradMode with_grad(true);
  const auto outputs = call(x);
  variable_list reached, arriving;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    if (gradients[i].defined() && outputs[i].requires_grad()) {
      reached.push_back(outputs[i]);
      arriving.push_back(gradients[i]);
    }
  }
  return reached.empty() ? variable_list(wanted.size())
                         : torch::autograd::grad(reached, wanted, arriving, /*retain_graph=*/false,
                                                 /*create_graph=*/false, /*allow_unused=*/true);
}

class RecomputeFunction : public torch::autograd::Function<RecomputeFunction> {
 public:
  /// `inputs` are the stream and the parameters.
  static variable_list forward(AutogradContext* context, torch::TensorList inputs,
                               const std::shared_ptr<const BlockCall>& call) {
    context->saved_data["call"] = c10::IValue::make_capsule(c10::make_intrusive<Kept>(call));
    context->save_for_backward({inputs[0]});
    context->set_materialize_grads(false);
    return (*call)(inputs[0]);
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto kept =
        c10::static_intrusive_pointer_cast<Kept>(context->saved_data["call"].toCapsule());
    const auto x = context->get_saved_variables()[0].detach().requires_grad_();
    variable_list inputs{x};
    for (const auto& parameter : kept->call->parameters()) {
      inputs.push_back(parameter);
    }
    variable_list wanted;
    for (const auto& input : inputs) {
      if (input.requires_grad()) {
        wanted.push_back(input);
      }
    }
    const auto found = differentiate(*kept->call, x, wanted, gradients);
    variable_list all;
    auto next = found.begin();
    for (const auto& input : inputs) {
      all.push_back(input.requires_grad() ? *next++ : Tensor());
    }
    all.emplace_back();  // for `call`
    return once_differentiable("motet::forward, computing blocks again", std::move(all));
  }
};

}  // namespace

std::vector<Tensor> recompute(std::shared_ptr<const BlockCall> call, const Tensor& x) {
  variable_list inputs{x};
  for (const auto& parameter : call->parameters()) {
    inputs.push_back(parameter);
  }
  return RecomputeFunction::apply(torch::TensorList(inputs), call);
}

}  // namespace motet
