#pragma once

#include <torch/optim/adamw.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "motet/model/decoder.h"

namespace motet {

/// LibTorch's AdamW with a step of one pass over each parameter on the CPU: LibTorch's own takes
/// ten. The same options, state and files. Loshchilov & Hutter 2019, arXiv 1711.05101.
class AdamW : public torch::optim::AdamW {
 public:
  using torch::optim::AdamW::AdamW;
  /// Updates every parameter that has a gradient; returns what `closure`, called first, does.
  torch::Tensor step(LossClosure closure = nullptr) override;
};

/// AdamW over all parameters of a model, without decay on norms and biases (parameters of one
/// dimension).
AdamW adamw(const Decoder& model, const torch::optim::AdamWOptions& options);

/// Parameters by their names.
using NamedParameters = std::vector<std::pair<std::string, torch::Tensor>>;

/// The moments of an optimizer, `NAME.exp_avg` and `NAME.exp_avg_sq`, of the parameters that it has
/// stepped.
std::map<std::string, torch::Tensor> moments_of(const AdamW& optimizer,
                                                const NamedParameters& parameters);

/// Gives an optimizer the moments that a file has, as of so many steps. Throws Error for others.
void set_moments(AdamW& optimizer, const NamedParameters& parameters,
                 const std::filesystem::path& path, int64_t steps);

/// What the learning rate is multiplied by at step 1 .. steps: it rises evenly over `warmup` steps,
/// and falls along half a cosine towards 0. transformers' `get_cosine_schedule_with_warmup` but for
/// its first step, whose rate is 0.
double cosine_schedule(int64_t step, int64_t steps, int64_t warmup);

/// Passes in low precision for a model whose parameters stay in fp32 ("master weights"): gradients
/// are added up and steps are taken in fp32. Micikevicius et al. 2018, arXiv 1710.03740, section
/// 3.1. In the model's own dtype, passes run through the model itself and nothing is copied.
class MixedPrecision {
 public:
  /// The model outlives this object.
  MixedPrecision(const Decoder& model, torch::ScalarType dtype);

  /// What passes run through.
  const Decoder& working() const { return copy_ ? *copy_ : model_; }
  /// Adds the gradients of the passes so far to the model's own, and clears them.
  void gather();
  /// Rounds the model's parameters, after a step, into what passes run through.
  void refresh();

 private:
  const Decoder& model_;
  std::shared_ptr<Decoder> copy_;  // null in the model's own dtype
};

}  // namespace motet
