#include "motet/model/decoder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "model/fingerprint.h"
#include "model/pass.h"
#include "motet/error.h"
#include "motet/model/family.h"

namespace motet {

using torch::Tensor;

Decoder::Table::Table(int64_t rows, int64_t width) {
  weight = register_parameter("weight", torch::empty({rows, width}));
}

Decoder::Decoder(Config config) : config_(std::move(config)) {
  const auto* family = find_family(config_.model_type);
  require(family != nullptr, "motet::Decoder: the model family '", config_.model_type,
          "' is not known here; known: ", family_names());
  const auto table = [&](const char* name, int64_t rows) {
    return register_module(name, std::make_shared<Table>(rows, config_.width));
  };
  tokens_ = table("tokens", config_.vocabulary);
  if (config_.learned_positions()) {
    positions_ = table("positions", config_.positions);
  }
  const auto blocks = register_module("layers", std::make_shared<torch::nn::Module>());
  for (int64_t layer = 0; layer < config_.layers; ++layer) {
    layers_.push_back(family->make_block(config_, layer));
    blocks->register_module(std::to_string(layer), layers_.back());
  }
  norm_ = register_module("norm", family->make_norm(config_));
  require(config_.windows.empty() || static_cast<int64_t>(config_.windows.size()) == config_.layers,
          "motet::Decoder: windows of ", config_.windows.size(), " layers, the model has ",
          config_.layers);
  if (!config_.tied) {
    head_ = table("head", config_.vocabulary);
  }
  require(!config_.logit_cap || *config_.logit_cap > 0, "motet::Decoder: a logit cap of ",
          config_.logit_cap.value_or(0), "; it is above 0");
  known_fingerprint_ = std::make_shared<KnownFingerprint>();
}

std::string Decoder::fingerprint() const { return known_fingerprint_->of(*this); }

Tensor Decoder::forward(const Tensor& tokens, const std::vector<int64_t>& positions,
                        Attention& attention, const ResidualObserver& observer) const {
  require(tokens.dim() == 2 && tokens.size(1) == static_cast<int64_t>(positions.size()),
          "motet::Decoder: tokens of ", tokens.sizes(), " at ", positions.size(),
          " positions; they are [batch, rows]");
  check_tokens("motet::Decoder", *this, tokens);
  auto x = at::embedding(tokens_->weight, tokens.to(device()));
  if (config_.embedding_scale != 1) {  // in the dtype of the weights, as Hugging Face does
    x = x * torch::tensor(config_.embedding_scale, torch::kFloat32).to(x.options());
  }
  if (config_.learned_positions() && !positions.empty()) {
    const auto last = *std::max_element(positions.begin(), positions.end());
    require(last < config_.positions, "motet::Decoder: position ", last,
            " is beyond the model's table of ", config_.positions,
            " (positions count from 0); split the context into more pieces");
    const auto index = torch::tensor(positions, torch::kInt64).to(device());
    x = x + at::embedding(positions_->weight, index);
  }
  x = x.to(dtype() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32);  // [batch, rows, width]
  const auto angles_of = [&](const std::optional<Rope>& rope) {
    return rope ? rotation(*rope, config_.features, positions, tokens_->weight.options(),
                           attention.reach())
                : Rotation();
  };
  const auto angles = angles_of(config_.rope), window_angles = angles_of(config_.window_rope);
  if (observer) {
    observer(0, x);
  }
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    const bool windowed = &config_.rope_in(static_cast<int64_t>(layer)) == &config_.window_rope;
    x = attention.run(layers_[layer], x, windowed ? window_angles : angles);
    if (observer) {
      observer(static_cast<int64_t>(layer) + 1, x);
    }
  }
  return norm_->forward(x);
}

Tensor Decoder::logits(const Tensor& hidden) const {
  const auto logits = linear(hidden, head(), Tensor(), /*single_precision_out=*/true);
  const auto& cap = config_.logit_cap;
  return cap ? *cap * torch::tanh(logits / *cap) : logits;
}

}  // namespace motet
