#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace motet {

/// What takes the place of an ablated head's out.
enum class Ablate {
  kZero,     ///< nothing
  kMean,     ///< the mean of its out over the query's rows up to this one
  kOwnOnly,  ///< what it reads from the query's own keys alone
};

/// `zero`, `mean` or `own`. Throws Error for another name.
Ablate ablate_named(std::string_view name);
/// The reverse of ablate_named.
std::string_view name_of(Ablate kind);

/// A query head of a layer.
struct LayerHead {
  int64_t layer = 0;  ///< counted from 0
  int64_t head = 0;   ///< counted from 0
  /// By layer, then by head.
  friend auto operator<=>(const LayerHead&, const LayerHead&) = default;
};

/// Heads that are switched off while a query is read; the context stays as it was encoded.
struct Ablation {
  Ablate kind = Ablate::kZero;   ///< what they give in place of their rows
  std::vector<LayerHead> heads;  ///< which

  /// Throws Error for a head that a model of so many layers and heads does not have.
  void check(int64_t layers, int64_t heads) const;
};

/// Heads as command lines and files have them: `LAYER.HEAD`, apart by commas or white space, rising
/// and without repetition. Throws Error, with `where`, for anything else.
std::vector<LayerHead> heads_named(std::string_view text, const std::string& where);

}  // namespace motet
