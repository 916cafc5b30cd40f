#include "motet/attention/score_rule.h"

#include <ATen/ATen.h>

#include <cmath>

#include "motet/error.h"

namespace motet {

double ScoreRule::scale_of(int64_t features) const {
  return scale.value_or(1 / std::sqrt(static_cast<double>(features)));
}

torch::Tensor ScoreRule::scores(const torch::Tensor& products, int64_t features) const {
  const auto scaled = scale_of(features) * products;
  return cap ? *cap * torch::tanh(scaled / *cap) : scaled;
}

void ScoreRule::validate(const char* where) const {
  require(!scale || std::isfinite(*scale), where, ": a scale of ", scale.value_or(0),
          "; it is finite");
  require(!cap || (std::isfinite(*cap) && *cap > 0), where, ": a soft cap of ", cap.value_or(0),
          "; it is finite and above 0");
}

}  // namespace motet
