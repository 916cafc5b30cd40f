#pragma once

#include <torch/types.h>

#include <cstdint>

namespace motet {

/// What the sets of a row mean: the prefix, piece 1 .. piece P, and the row's own keys; where
/// pieces are split by a window (see split_window), behind them the bulk of piece 1 .. piece P, and
/// a piece is then what the window has of it; where a reading wants it (ReadingNeeds::null), last
/// of all a set without keys, the null set. Rows of a context see no pieces: the prefix, and their
/// own segment.
///
/// It is the one place that knows the numbers of sets. Functions that take a tensor give a view of
/// it; its dimension 3 is that of sets, [batch, heads, rows, sets(, ...)].
class PieceSets {
 public:
  /// Prefix and own keys, no pieces.
  PieceSets() = default;
  /// Throws Error for a negative number of pieces.
  explicit PieceSets(int64_t pieces, bool split = false);

  /// The meaning of so many sets that are not split. Throws Error for fewer than two.
  static PieceSets of_sets(int64_t sets);

  int64_t pieces() const { return pieces_; }  ///< P
  bool split() const { return split_; }       ///< whether there are bulks
  bool has_null() const { return null_; }     ///< whether there is a null set

  int64_t prefix() const { return 0; }                       ///< the set of the prefix
  int64_t piece(int64_t m) const { return 1 + m; }           ///< of piece m, from 0
  int64_t own() const { return 1 + pieces_; }                ///< of the row's own keys
  int64_t bulk(int64_t m) const { return 2 + pieces_ + m; }  ///< of the bulk of piece m, from 0
  int64_t null() const { return own() + 1 + (split_ ? pieces_ : 0); }  ///< the set without keys
  int64_t count() const { return null() + (null_ ? 1 : 0); }           ///< of all sets
  /// Whether this set is a piece, not the prefix, own keys or a bulk.
  bool is_piece(int64_t set) const { return set > prefix() && set < own(); }

  /// The same pieces, split.
  PieceSets with_bulks() const { return PieceSets(pieces_, true); }
  /// The same pieces, whole.
  PieceSets whole() const { return PieceSets(pieces_); }
  /// The same sets, and a null set.
  PieceSets with_null() const;

  torch::Tensor prefix_in(const torch::Tensor& x) const;  ///< [batch, heads, rows(, ...)]
  torch::Tensor pieces_in(const torch::Tensor& x) const;  ///< [batch, heads, rows, pieces(, ...)]
  torch::Tensor own_in(const torch::Tensor& x) const;     ///< [batch, heads, rows(, ...)]
  torch::Tensor bulks_in(const torch::Tensor& x) const;   ///< [batch, heads, rows, pieces(, ...)]
  torch::Tensor null_in(const torch::Tensor& x) const;    ///< [batch, heads, rows(, ...)]

  /// Field by field.
  friend bool operator==(const PieceSets&, const PieceSets&) = default;

 private:
  int64_t pieces_ = 0;
  bool split_ = false;
  bool null_ = false;
};

}  // namespace motet
