#include "train/state.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/train/training.h"

namespace motet {
namespace {

constexpr const char* kStateFile = "training_state.json";

}  // namespace

int64_t length_of(const char* where, const torch::Tensor& rows) {
  require(rows.dim() == 2, where, ": rows are ", rows.sizes(), "; [rows, length] is wanted");
  return rows.size(1);
}

void check_finite(int64_t step, const char* what, double value) {
  if (!std::isfinite(value)) {
    std::ostringstream message;
    message << "step " << step << ": the " << what << " is " << (std::isnan(value) ? "nan" : "inf")
            << "; " << kNotFiniteAdvice;
    throw NotFinite(message.str());
  }
}

void save_state(const std::filesystem::path& directory, const TrainingState& state) {
  const nlohmann::ordered_json json{{"step", state.step}, {"seed", state.seed}};
  write_file(directory / kStateFile, json.dump(2) + "\n");
}

int64_t load_state(const std::filesystem::path& directory, int64_t steps, uint64_t seed) {
  const auto path = directory / kStateFile;
  const auto state = nlohmann::json::parse(read_file(path), nullptr, false);
  require(state.is_object() && state.contains("step") && state["step"].is_number_unsigned() &&
              state.contains("seed") && state["seed"].is_number_unsigned(),
          path.string(), ": has no step and seed");
  const auto step = state["step"].get<int64_t>();
  require(step <= steps, path.string(), ": ", step, " steps are done of ", steps);
  require(state["seed"] == seed, path.string(), ": is of the seed ", state["seed"].dump(),
          ", this run of ", seed);
  return step;
}

}  // namespace motet
