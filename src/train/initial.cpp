#include "motet/train/initial.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>

#include "motet/model/family.h"

namespace motet {

std::shared_ptr<Decoder> initial_model(const Config& config, uint64_t seed) {
  auto model = std::make_shared<Decoder>(config);
  const auto& residual = find_family(config.model_type)->residual;
  const auto deviation =
      ConfigReader(config.source, "config.json").number("initializer_range", 0.02);
  const auto generator = at::detail::createCPUGenerator(seed);
  const at::NoGradGuard no_grad;
  for (auto& item : model->named_parameters()) {
    const bool adds_to_residual =
        std::any_of(residual.begin(), residual.end(),
                    [&](const std::string& ending) { return item.key().ends_with(ending); });
    if (item.value().dim() < 2) {
      item.value().zero_();
    } else if (adds_to_residual) {
      item.value().normal_(0, deviation / std::sqrt(2.0 * static_cast<double>(config.layers)),
                           generator);
    } else {
      item.value().normal_(0, deviation, generator);
    }
  }
  for (const auto& module : model->modules()) {
    if (const auto norm = std::dynamic_pointer_cast<Norm>(module)) {
      norm->named_parameters(/*recurse=*/false)["weight"].fill_(norm->neutral_weight());
    }
  }
  return model;
}

}  // namespace motet
