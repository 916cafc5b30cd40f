#include "motet/train/loss.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <functional>
#include <string>
#include <utility>

#include "attention/once_differentiable.h"
#include "motet/error.h"
#include "motet/train/text_rows.h"

namespace motet {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kRows = 512;  // with a vocabulary of 50,000 their logits take 100 MB

/// A sum over rows, of the logits of those from `first` to `last`, [rows, vocabulary].
struct SumOfLogits {
  std::string name;  // of the loss
  std::function<Tensor(const Tensor& logits, int64_t first, int64_t last)> of;
};

/// The mean of a sum over rows, [rows, width]. Gradients are found in the forward pass, while the
/// logits of some rows are there: those of all of them never are.
class LossOfRows : public torch::autograd::Function<LossOfRows> {
 public:
  /// `head` is the model's, or without its gradient where none is wanted.
  static Tensor forward(AutogradContext* context, const Tensor& rows, const Tensor& head,
                        const Decoder* model, const SumOfLogits* sum) {
    const bool differentiated = rows.requires_grad() || head.requires_grad();
    const auto sums = head.options().dtype(head.scalar_type() == torch::kFloat64 ? torch::kFloat64
                                                                                 : torch::kFloat32);
    auto total = torch::zeros({}, sums);
    const auto d_rows = differentiated ? torch::empty_like(rows) : Tensor();
    Tensor d_head;
    for (int64_t first = 0; first < rows.size(0); first += kRows) {
      const auto last = std::min(first + kRows, rows.size(0));
      const at::AutoGradMode with_gradient(differentiated);
      const auto x = rows.slice(0, first, last).detach().requires_grad_(differentiated);
      const auto loss = sum->of(model->logits(x), first, last) / rows.size(0);
      total += loss.detach();
      if (differentiated) {
        variable_list wanted{x};
        if (head.requires_grad()) {
          wanted.push_back(head);
        }
        const auto found = torch::autograd::grad({loss}, wanted);
        const at::NoGradGuard no_grad;
        d_rows.slice(0, first, last).copy_(found[0]);
        if (head.requires_grad()) {
          d_head = d_head.defined() ? d_head.add_(found[1]) : found[1].to(sums.dtype());
        }
      }
    }
    context->saved_data["name"] = sum->name;
    if (differentiated) {
      context->save_for_backward(
          {d_rows, d_head.defined() ? d_head.to(head.scalar_type()) : d_head});
    }
    return total;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradient) {
    variable_list gradients;
    {
      const at::NoGradGuard no_grad;
      for (const auto& saved : context->get_saved_variables()) {
        gradients.push_back(saved.defined() ? saved * gradient[0].to(saved.scalar_type()) : saved);
      }
    }
    gradients.resize(4);  // none for `model` and `sum`
    const auto name = context->saved_data["name"].toStringRef();
    return once_differentiable(name.c_str(), std::move(gradients));
  }
};

Tensor mean_over(const Decoder& model, const Tensor& rows, const SumOfLogits& sum) {
  const auto& head = model.head();
  return LossOfRows::apply(rows, at::GradMode::is_enabled() ? head : head.detach(), &model, &sum);
}

}  // namespace

Tensor next_token_loss(const Decoder& model, const Tensor& hidden, const Tensor& targets) {
  require(hidden.dim() == 3 && targets.sizes() == hidden.sizes().slice(0, 2),
          "motet::next_token_loss: rows of ", hidden.sizes(), ", targets of ", targets.sizes());
  const auto all = targets.flatten().to(hidden.device());
  const auto wanted = (all != Cut::kNone).nonzero().squeeze(1);
  require(wanted.size(0) > 0, "motet::next_token_loss: no row has a target");
  const auto rows = hidden.flatten(0, 1).index_select(0, wanted);
  const auto next = all.index_select(0, wanted);
  return mean_over(
      model, rows,
      {"motet::next_token_loss", [&](const Tensor& logits, int64_t first, int64_t last) {
         return at::cross_entropy_loss(logits, next.slice(0, first, last), {}, at::Reduction::Sum);
       }});
}

Tensor divergence_loss(const Decoder& model, const Tensor& teacher, const Tensor& hidden) {
  require(hidden.dim() == 2 && hidden.size(0) > 0 && teacher.sizes() == hidden.sizes(),
          "motet::divergence_loss: rows of ", hidden.sizes(), ", the teacher's of ",
          teacher.sizes());
  return mean_over(
      model, hidden,
      {"motet::divergence_loss", [&](const Tensor& logits, int64_t first, int64_t last) {
         const auto wanted = [&] {
           const at::NoGradGuard no_grad;
           return model.logits(teacher.slice(0, first, last)).log_softmax(-1);
         }();
         return (wanted.exp() * (wanted - logits.log_softmax(-1))).sum(-1).sum();
       }});
}

}  // namespace motet
