#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>

namespace motet {

/// Files of a checkpoint, and what messages advise.
constexpr const char* kOptimizerFile = "optimizer.safetensors";
constexpr const char* kNotFiniteAdvice = "a lower learning rate or a longer warm-up may help";

/// Of rows of text. Throws Error, which begins with `where`, unless they are [rows, length].
int64_t length_of(const char* where, const torch::Tensor& rows);

/// Throws NotFinite where a value is no finite number.
void check_finite(int64_t step, const char* what, double value);

/// All that a training's order of rows is a function of: there is no other state.
struct TrainingState {
  int64_t step;   // that are done
  uint64_t seed;  // of the order of rows
};

/// Writes `training_state.json`.
void save_state(const std::filesystem::path& directory, const TrainingState& state);

/// The steps that are done, of `steps`. Throws Error for another seed, and more steps.
int64_t load_state(const std::filesystem::path& directory, int64_t steps, uint64_t seed);

}  // namespace motet
