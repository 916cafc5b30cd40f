#include "motet/eval/mean.h"

#include <ATen/ATen.h>

namespace motet {

Mean mean_of(const torch::Tensor& x) {
  const auto count = static_cast<double>(x.numel());
  Mean mean{x.mean().item<double>(), {}};
  if (count > 1) {
    mean.standard_error = x.std().item<double>() / std::sqrt(count);
  }
  return mean;
}

}  // namespace motet
