#include "motet/attention/rows.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "attention/infinity.h"
#include "attention/merging.h"
#include "attention/once_differentiable.h"
#include "attention/plain.h"
#include "kernel/checked.h"
#include "kernel/compute.h"
#include "motet/attention/scores.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// What the backward pass needs beside tensors.
struct Plan : torch::CustomClassHolder {
  explicit Plan(RowArguments arguments) : arguments(std::move(arguments)) {}
  RowArguments arguments;  // its tensors emptied: autograd keeps those
  std::vector<bool>
      made;  // which tensors of the RowResult there are: autograd takes no undefined output
};

/// The differentiable row: docs/sparsity.md, its gradients. No matrix of queries by keys outlives
/// either direction.
class RowFunction : public torch::autograd::Function<RowFunction> {
 public:
  /// `inputs` are query, keys ..., values ..., log weight where there is one.
  static variable_list forward(AutogradContext* context, torch::TensorList inputs,
                               const RowArguments& arguments) {
    const auto result = compute(arguments);
    auto plan = c10::make_intrusive<Plan>(arguments);
    plan->arguments.query = Tensor();
    plan->arguments.keys.assign(arguments.keys.size(), Tensor());
    plan->arguments.values.assign(arguments.values.size(), Tensor());
    if (plan->arguments.log_weight) {
      plan->arguments.log_weight = Tensor();
    }
    context->saved_data["plan"] = c10::IValue::make_capsule(plan);
    auto saved = inputs.vec();
    const auto outputs = list(result, plan->made);
    saved.insert(saved.end(), outputs.begin(), outputs.end());
    context->save_for_backward(saved);
    context->set_materialize_grads(false);
    variable_list constant;
    for (const auto& tensor : {result.set_top, result.top_threshold}) {
      if (tensor.defined()) {
        constant.push_back(tensor);
      }
    }
    context->mark_non_differentiable(constant);
    return outputs;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradient) {
    const auto plan =
        c10::static_intrusive_pointer_cast<Plan>(context->saved_data["plan"].toCapsule());
    auto arguments = plan->arguments;
    const auto saved = context->get_saved_variables();
    auto next = saved.begin();
    arguments.query = *next++;
    for (auto& keys : arguments.keys) {
      keys = *next++;
    }
    for (auto& values : arguments.values) {
      values = *next++;
    }
    if (arguments.log_weight) {
      arguments.log_weight = *next++;
    }
    const auto result = unlist({next, saved.end()}, plan->made);
    const auto gradients = [&] {
      const at::NoGradGuard no_grad;
      return differentiate(arguments, result, unlist(gradient, plan->made));
    }();
    variable_list inputs{gradients.query};
    inputs.insert(inputs.end(), gradients.keys.begin(), gradients.keys.end());
    inputs.insert(inputs.end(), gradients.values.begin(), gradients.values.end());
    if (arguments.log_weight) {
      inputs.push_back(gradients.log_weight);
    }
    inputs.emplace_back();  // for `arguments`
    return once_differentiable("motet::attend", std::move(inputs));
  }

  /// The tensors that the result has, and which those are.
  static variable_list list(const RowResult& result, std::vector<bool>& made) {
    variable_list tensors;
    for (const auto& tensor :
         {result.out, result.lse, result.entropy, result.set_lse, result.set_entropy,
          result.set_top, result.top_mass, result.top_threshold}) {
      made.push_back(tensor.defined());
      if (tensor.defined()) {
        tensors.push_back(tensor);
      }
    }
    return tensors;
  }

  static RowResult unlist(const variable_list& tensors, const std::vector<bool>& made) {
    auto next = tensors.begin();
    std::vector<Tensor> all;
    for (const bool there : made) {
      all.push_back(there ? *next++ : Tensor());
    }
    return {all[0], all[1], all[2], all[3], all[4], all[5], all[6], all[7], Tensor()};
  }
};

RowResult rows(const RowArguments& arguments) {
  const auto inputs = inputs_of(arguments);
  if (!wants_gradient(inputs)) {
    const at::NoGradGuard no_grad;
    return compute(arguments);
  }
  const auto outputs = RowFunction::apply(torch::TensorList(inputs), arguments);
  const bool budget = arguments.budget.defined();
  return RowFunction::unlist(outputs, {!arguments.values.empty(), true, arguments.entropy, true,
                                       arguments.entropy, arguments.top > 0, budget, budget});
}

RowParts parts_in_one_pass(const Row& row) {
  const auto rows = row.lse.numel(), sets = row.set_lse.size(3);
  const auto options = row.lse.options();
  RowParts parts{at::empty(row.set_lse.sizes(), options), at::empty(row.lse.sizes(), options), {}};
  if (row.set_entropy.defined()) {
    parts.within = at::empty(row.lse.sizes(), options);
  }
  const auto *lse = row.lse.const_data_ptr<float>(), *set_lse = row.set_lse.const_data_ptr<float>();
  const auto* entropy =
      row.set_entropy.defined() ? row.set_entropy.const_data_ptr<float>() : nullptr;
  auto *mass = parts.mass.data_ptr<float>(), *between = parts.between.data_ptr<float>();
  auto* within = entropy != nullptr ? parts.within.data_ptr<float>() : nullptr;
  constexpr int64_t kGrain = 1 << 12;
  at::parallel_for(0, rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(1, sets)),
                   [&](int64_t first, int64_t last) {
                     for (auto i = first; i < last; ++i) {
                       double hesitation = 0, inside = 0;
                       for (auto m = i * sets; m < (i + 1) * sets; ++m) {
                         const auto log_mass = set_lse[m] - lse[i];
                         const bool none = set_lse[m] == -kInfinity;
                         mass[m] = none ? 0 : std::exp(log_mass);
                         if (mass[m] != 0) {  // 0 ln 0 is 0
                           hesitation -= static_cast<double>(mass[m]) * log_mass;
                           inside +=
                               entropy != nullptr ? static_cast<double>(mass[m]) * entropy[m] : 0;
                         }
                       }
                       between[i] = static_cast<float>(std::max(hesitation, 0.0));
                       if (within != nullptr) {
                         within[i] = static_cast<float>(inside);
                       }
                     }
                   });
  return parts;
}

}  // namespace

Tensor Row::mass() const { return parts().mass; }

Tensor Row::between() const { return parts().between; }

Tensor Row::within() const { return parts().within; }

RowParts Row::parts() const {
  if (is_plain({lse, set_lse, entropy.defined() ? set_entropy : set_lse})) {
    return parts_in_one_pass(*this);
  }
  const auto mass = (set_lse - finite(lse).unsqueeze(-1)).exp();
  return {mass, -times_log(mass).sum(-1),
          set_entropy.defined() ? (mass * set_entropy).sum(-1) : Tensor()};
}

Row attend(const Tensor& query, torch::TensorList keys, torch::TensorList values,
           const KeySets& sets, const std::optional<Tensor>& log_weight,
           const RowOptions& options) {
  require(!values.empty(), "motet::attend: no values; motet::score is for keys alone");
  const auto result =
      rows(checked("motet::attend", query, keys, values, sets, log_weight, options));
  return {result.out,         result.lse,     result.entropy,  result.set_lse,
          result.set_entropy, result.set_top, result.top_mass, result.top_threshold};
}

Scores score(const Tensor& query, torch::TensorList keys, const KeySets& sets, int64_t top,
             const RowOptions& options) {
  auto wanted = options;
  wanted.top = top;
  const auto arguments = checked("motet::score", query, keys, {}, sets, {}, wanted);
  const auto result = rows(arguments);
  return {.lse = result.set_lse,
          .entropy = result.set_entropy,
          .top = result.set_top,
          .top_threshold = result.top_threshold,
          .row_lse = result.lse};
}

}  // namespace motet
