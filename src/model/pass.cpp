#include "model/pass.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "motet/context/layout.h"
#include "motet/error.h"

namespace motet {

torch::Tensor as_tensor(const std::vector<int64_t>& tokens) {
  return torch::tensor(tokens, torch::kInt64).unsqueeze(0);
}

void check_tokens(const char* where, const Decoder& model, const torch::Tensor& tokens) {
  if (tokens.numel() > 0) {
    const auto size = model.config().vocabulary;
    const auto lowest = tokens.min().item<int64_t>(), highest = tokens.max().item<int64_t>();
    require(lowest >= 0 && highest < size, where, ": token ", lowest < 0 ? lowest : highest,
            " is not in the vocabulary of ", size);
  }
}

void check_positions(const char* where, const Decoder& model, const std::vector<int64_t>& positions,
                     const std::string& what) {
  if (!model.config().learned_positions() || positions.empty()) {
    return;
  }
  const auto last = *std::max_element(positions.begin(), positions.end());
  require(last < model.config().positions, where, ": ", what, " needs ", last + 1,
          " positions, the model's table has ", model.config().positions,
          "; split the context into more pieces, or shorten it or the query");
}

LayerSets::LayerSets(const Config& config, KeySets sets, std::vector<int64_t> key_positions,
                     std::vector<int64_t> row_positions)
    : config_(config),
      key_positions_(std::move(key_positions)),
      row_positions_(std::move(row_positions)) {
  behind_[0] = std::make_shared<const KeySets>(std::move(sets));
  if (!key_positions_.empty() && !row_positions_.empty()) {
    span_ = *std::max_element(row_positions_.begin(), row_positions_.end()) -
            *std::min_element(key_positions_.begin(), key_positions_.end());
  }
}

const std::shared_ptr<const KeySets>& LayerSets::of(int64_t layer) const {
  auto window = config_.window(layer).value_or(0);
  if (window > span_) {  // nothing is so far behind
    window = 0;
  }
  auto& sets = behind_[window];
  if (sets == nullptr) {
    sets = std::make_shared<const KeySets>(
        behind_window(*behind_.at(0), key_positions_, row_positions_, window));
  }
  return sets;
}

}  // namespace motet
