#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "motet/context/layout.h"

namespace motet {

/// Consecutive rows of `length` tokens of a text, [rows, length], int64; a shorter tail is dropped.
/// Throws Error, with the numbers, where the text does not fill one row.
torch::Tensor text_rows(const std::vector<int64_t>& tokens, int64_t length);

/// Rows in random order, without end: each epoch has every row once, in an order of its own. What
/// comes at a place depends on the seed and the place alone, so a run that was stopped goes on with
/// the rows that it would have seen.
class ShuffledRows {
 public:
  /// `rows` is [rows, length]. Throws Error where there are none.
  ShuffledRows(torch::Tensor rows, uint64_t seed);
  /// `count` rows from place `first` of the sequence on, [count, length].
  torch::Tensor take(int64_t first, int64_t count);

 private:
  torch::Tensor rows_;
  uint64_t seed_;
  int64_t epoch_ = -1;          // that `order_` is of
  std::vector<int64_t> order_;  // places of the epoch to rows
};

/// How motet-compare cuts a segment: the last `scored` tokens of a row are predicted, the query
/// begins one token before them, and everything before the query is the context, in pieces.
struct CutOptions {
  int64_t pieces = 1;                        ///< degree P
  int64_t scored = 1;                        ///< tokens at the row's end
  std::vector<int64_t> prefix = {};          ///< tokens before all pieces
  Positions positions = Positions::kSpread;  ///< of the pieces' tokens
  bool context = false;                      ///< the pieces' own next tokens are predicted too
};

/// Rows of text as the packed rows that `forward` runs over, and what each of their tokens is to
/// predict. All rows are of one length.
class Cut {
 public:
  /// Plain causal rows: every token but the first is predicted.
  explicit Cut(int64_t length);
  /// Rows in pieces. Throws Error where `length` leaves no context or fewer tokens than pieces.
  Cut(int64_t length, CutOptions options);

  /// Prefix and pieces; the query is the rest of the packed row.
  const Layout& layout() const { return layout_; }
  int64_t predicted() const;  ///< tokens of one row
  int64_t positions() const;  ///< that a learned table must have

  /// `rows` is [batch, length]. The packed rows without the last token, which sees nothing new,
  /// [batch, prefix + length - 1].
  torch::Tensor tokens(const torch::Tensor& rows) const;
  /// The token that follows each of them, [batch, prefix + length - 1]; kNone where none is wanted.
  torch::Tensor targets(const torch::Tensor& rows) const;

  static constexpr int64_t kNone = -100;  ///< LibTorch's ignore_index

 private:
  int64_t length_;
  Layout layout_;
  torch::Tensor prefix_;    // [prefix], int64
  torch::Tensor predicts_;  // [length - 1], bool
};

}  // namespace motet
