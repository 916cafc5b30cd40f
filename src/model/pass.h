#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "motet/attention/sets.h"
#include "motet/model/decoder.h"

/// What every pass through the layers of a model needs.
namespace motet {

/// [1, tokens], int64.
torch::Tensor as_tensor(const std::vector<int64_t>& tokens);

/// Throws Error, which begins with `where`, for a token that the model's vocabulary lacks.
void check_tokens(const char* where, const Decoder& model, const torch::Tensor& tokens);

/// Throws Error, which begins with `where`, where the model's learned table lacks one of these
/// positions; `what` needs them.
void check_positions(const char* where, const Decoder& model, const std::vector<int64_t>& positions,
                     const std::string& what);

/// What the rows of a pass see, layer by layer: the same sets, behind the window of each layer.
class LayerSets {
 public:
  /// Positions are those of all keys and rows of `sets`; `config` outlives these.
  LayerSets(const Config& config, KeySets sets, std::vector<int64_t> key_positions,
            std::vector<int64_t> row_positions);

  /// Those of a layer; layers of one window share them.
  const std::shared_ptr<const KeySets>& of(int64_t layer) const;

 private:
  const Config& config_;
  std::vector<int64_t> key_positions_, row_positions_;
  int64_t span_ = 0;  // from the first position of a key to the last of a row
  mutable std::map<int64_t, std::shared_ptr<const KeySets>> behind_;  // by window; 0: none
};

}  // namespace motet
