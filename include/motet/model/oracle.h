#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "motet/context/encoded_context.h"
#include "motet/model/config.h"

namespace motet {

/// What is taken from a full run.
struct OracleOptions {
  bool keys = true;                ///< whether keys are taken
  bool values = true;              ///< whether values are taken
  std::vector<int64_t> layers;     ///< in which it is taken
  bool every_other_layer = false;  ///< in all layers but these: "parallel at these layers only"

  /// `keys`, `values` or `both`; then, behind a colon, layers: `0+4-9`, or `not:5`; all, unless
  /// given.
  std::string name() const;
  /// Whether anything is taken in this layer.
  bool in_layer(int64_t layer) const;
  /// Throws Error for a layer that the model does not have, and where neither keys nor values are
  /// taken.
  void validate(const Config& config) const;
};

/// The options of which `name` is this. Throws Error for anything else.
OracleOptions oracle_named(std::string_view text);

/// PCE's oracle: a context that was encoded in pieces, but for keys, values or both that come, in
/// some layers, from a run in which every token saw all before it (arXiv 2412.16545, section 4).
/// Read it like any other context.
///
/// `full` is the same prefix and the same tokens as one piece. Keys are placed at the positions of
/// `parallel`: rotated back from those of the full run and on; learned positions cannot be taken
/// out of a key, and stay those of the full run. Where pieces keep moments, those of keys that are
/// taken are made anew. Throws Error where the contexts do not fit each other or the model.
EncodedContext oracle(const Config& config, const EncodedContext& parallel,
                      const EncodedContext& full, const OracleOptions& options);

}  // namespace motet
