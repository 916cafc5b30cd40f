#pragma once

#include <cstdint>
#include <memory>

#include "motet/model/decoder.h"

namespace motet {

/// A model to train from scratch, fp32, as Hugging Face begins one: weights normal with
/// config.json's `initializer_range` (0.02 where it has none), divided by sqrt(2 layers) for those
/// that Family::residual names (GPT-2: Radford et al. 2019, section 2.3); biases 0, norms 1. The
/// same seed gives the same model. Throws Error for an unknown family.
std::shared_ptr<Decoder> initial_model(const Config& config, uint64_t seed);

}  // namespace motet
