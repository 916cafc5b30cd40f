#pragma once

#include <torch/types.h>

#include <concepts>
#include <memory>
#include <type_traits>
#include <typeinfo>

#include "motet/context/layout.h"
#include "motet/error.h"
#include "motet/model/decoder.h"
#include "motet/probe/penalty.h"
#include "motet/probe/probe.h"
#include "motet/reading/reading.h"

namespace motet {

/// Options of `forward`.
struct ForwardOptions {
  /// Given the rows of all layers, context and query; outlives the backward pass.
  RowPenalty* penalty = nullptr;
  /// Whether blocks keep only their input and are computed again in the backward pass: memory of
  /// one block for time of one more forward pass (Chen et al. 2016, arXiv 1604.06174). Residual
  /// stream and penalty are outputs of the block alike, and probes see rows once.
  bool checkpoint = false;
};

/// A whole packed row, context and query, in one differentiable pass without a cache: `tokens` is
/// [batch, layout.tokens() + query]. The reading decides for the query's rows; blocks that are
/// computed again keep it. Returns rows after the last norm, [batch, rows, width]; see
/// Decoder::logits. Throws Error where tokens and layout do not fit each other or the model's
/// positions, and where the reading is of another model (Reading::check).
torch::Tensor forward(const Decoder& model, const torch::Tensor& tokens, const Layout& layout,
                      std::shared_ptr<const Reading> reading = std::make_shared<All>(),
                      const Probes& probes = {}, const ForwardOptions& options = {});

/// The same with a copy of `reading`. Throws Error where that is of a class derived from Kind, of
/// which a copy would be cut.
template <std::derived_from<Reading> Kind>
requires(!std::is_abstract_v<Kind>) torch::Tensor
    forward(const Decoder& model, const torch::Tensor& tokens, const Layout& layout,
            const Kind& reading, const Probes& probes = {}, const ForwardOptions& options = {}) {
  require(typeid(reading) == typeid(Kind), "motet::forward: the reading ", reading.name(),
          " is of a class derived from the one that is known here; give it as a shared_ptr");
  return forward(model, tokens, layout, std::make_shared<const Kind>(reading), probes, options);
}

}  // namespace motet
