#include "attention/merging.h"

#include <ATen/ATen.h>

namespace motet {
namespace {

using torch::Tensor;

Tensor log_sum(const std::vector<Tensor>& lses) {
  return lses.size() == 2 ? torch::logaddexp(lses[0], lses[1])
                          : torch::logsumexp(torch::stack(lses), 0);
}

/// The same with gradient 0 where all parts are empty, which would be NaN there.
Tensor log_sum_of_any(const std::vector<Tensor>& lses) {
  auto none = lses[0] == -kInfinity;
  for (const auto& lse : lses) {
    none = none.logical_and(lse == -kInfinity);
  }
  std::vector<Tensor> some;
  for (const auto& lse : lses) {
    some.push_back(lse.masked_fill(none, 0));
  }
  return log_sum(some).masked_fill(none, -kInfinity);
}

}  // namespace

Tensor finite(const Tensor& lse) { return lse.masked_fill(lse == -kInfinity, 0); }

Tensor finite_log_sum(const Tensor& lses) {
  if (!at::GradMode::is_enabled() || !lses.requires_grad()) {
    return finite(lses.logsumexp(-1, true));
  }
  const auto none = (lses == -kInfinity).all(-1, true);
  return lses.masked_fill(none, 0).logsumexp(-1, true).masked_fill(none, 0);
}

Tensor below_largest(const Tensor& lses) { return lses - finite(lses.detach().amax(-1, true)); }

Tensor times_log(const Tensor& w) {
  // The slope of ln w is infinite where w is 0, and that of exp(-inf), 0, times it NaN.
  const bool differentiated = at::GradMode::is_enabled() && w.requires_grad();
  return torch::xlogy(w, differentiated ? w.masked_fill(w == 0, 1) : w);
}

Shares::Shares(const std::vector<Tensor>& lses) {
  bool differentiated = false;
  for (const auto& of_part : lses) {
    differentiated = differentiated || (at::GradMode::is_enabled() && of_part.requires_grad());
  }
  lse = differentiated ? log_sum_of_any(lses) : log_sum(lses);
  const auto total = finite(lse);
  for (const auto& of_part : lses) {
    weights.push_back((of_part - total).exp_());
  }
}

Tensor Shares::entropy(const std::vector<Tensor>& of_parts) const {
  auto sum = weights[0] * of_parts[0];
  for (std::size_t i = 1; i < weights.size(); ++i) {
    sum = sum + weights[i] * of_parts[i];
  }
  for (const auto& weight : weights) {
    sum = sum - times_log(weight);
  }
  return sum;
}

Tensor Shares::out(const std::vector<Tensor>& of_parts) const {
  Tensor sum;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    const auto weight = weights[i].unsqueeze(-1);
    const auto part = of_parts[i].to(weight.scalar_type());
    const bool differentiated =
        at::GradMode::is_enabled() && (weight.requires_grad() || part.requires_grad());
    if (!sum.defined()) {
      sum = weight * part;
    } else if (differentiated || sum.requires_grad()) {
      sum = sum + weight * part;
    } else {
      sum.addcmul_(weight, part);
    }
  }
  return sum;
}

}  // namespace motet
