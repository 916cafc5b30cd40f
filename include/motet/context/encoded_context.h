#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "motet/attention/key_bounds.h"
#include "motet/attention/key_moments.h"
#include "motet/context/window.h"

namespace motet {

/// What decides the keys and values of a piece beside its own tokens and positions: an encoded
/// piece may be read wherever these are equal, and nowhere else.
struct Origin {
  std::string model;            ///< Decoder::fingerprint of the model that made it
  std::vector<int64_t> prefix;  ///< tokens of the prefix that it saw
  bool long_factors = false;    ///< whether its keys are rotated by LongRope's long factors

  /// Field by field.
  friend bool operator==(const Origin&, const Origin&) = default;
};

/// Tokens that were encoded together: a prefix, or one piece. Keys are as placed: rotated once,
/// never again.
struct EncodedPiece {
  std::vector<int64_t> tokens;        ///< ids
  std::vector<int64_t> positions;     ///< of each token
  std::vector<torch::Tensor> keys;    ///< of each layer, [1, kv_heads, tokens, features]
  std::vector<torch::Tensor> values;  ///< of each layer, [1, kv_heads, tokens, features]
  /// Of the keys of each layer, where `encode` was asked for them (ContextOptions::moments).
  std::vector<KeyMoments> moments = {};
  Origin origin = {};  ///< as `encode` leaves it; a Reader refuses a piece of another origin

  int64_t length() const { return static_cast<int64_t>(tokens.size()); }  ///< tokens
};

/// A context that was encoded once, to be read by any number of queries. Prefix and pieces lie
/// apart, so that pieces can be reordered, dropped and added: `pieces` is the caller's to change.
struct EncodedContext {
  EncodedPiece prefix;               ///< may be empty
  std::vector<EncodedPiece> pieces;  ///< what each of them saw: the prefix and itself
  int64_t query_position = 0;        ///< of a query's first token
  /// Positions of the context, and of all that will read it where `encode` was told
  /// (ContextOptions::reach): LongRope's factors are chosen by it, once.
  int64_t reach = 0;

  /// Tokens of prefix and pieces.
  int64_t tokens() const;
  /// Tokens of each piece.
  std::vector<int64_t> piece_lengths() const;
  /// The position of each token of prefix and pieces.
  std::vector<int64_t> positions() const;
  /// Memory of keys and values, bytes.
  int64_t bytes() const;
};

/// The moments of the keys of each piece's bulk in a layer: of exactly those keys. Where pieces
/// keep moments, those of the window are taken out of them.
std::vector<KeyMoments> bulk_moments(const EncodedContext& context, int64_t layer,
                                     const Window& window);

/// The bounds of the same keys.
std::vector<KeyBounds> bulk_bounds(const EncodedContext& context, int64_t layer,
                                   const Window& window);

}  // namespace motet
