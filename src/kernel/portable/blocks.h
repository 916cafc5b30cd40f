#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "kernel/arguments.h"

/// What both directions of the portable kernel share: how rows and keys are cut into blocks, and
/// the scores of one block by another.
namespace motet::portable {

constexpr int64_t kBlockScores = 1 << 19;  // scores of all heads in one block: bounds the memory

/// The dtype of sums: float64 for float64, fp32 otherwise.
torch::ScalarType accumulator(const torch::Tensor& tensor);

/// Some rows of one span.
struct RowBlock {
  int64_t first, last;  // of all rows
  KeyRange keys;        // of the span: from the first that one of them sees to the last
};

/// The rows [first, last) of all rows, which the span has.
RowBlock row_block(const Span& span, int64_t first, int64_t last);

/// All rows of a span, but for blocks that see none of its keys.
std::vector<RowBlock> row_blocks(const Span& span);

/// Some keys of a span, [first, last) of the tensor that holds them.
struct KeyBlock {
  std::size_t tensor;  // of the list
  int64_t first, last;
  int64_t first_of_all;  // the first, counted through all tensors
  torch::Tensor hidden;  // bool [rows, keys]: true where the row does not see the key; undefined
                         // where all rows see all
};

/// The keys of `span` between the first and the last that `rows` see.
std::vector<KeyBlock> key_blocks(const RowArguments& arguments, const Span& span,
                                 const RowBlock& rows);

/// Query heads that share keys, folded into rows: [batch, heads, rows, ...] to [key batch,
/// kv_heads, rows of all, ...], so that keys are never copied for each head.
struct Folding {
  int64_t batch, heads, kv_heads;
  bool shared;  // one batch of keys for all queries

  torch::Tensor fold(const torch::Tensor& x) const;
  torch::Tensor unfold(const torch::Tensor& x, int64_t rows) const;
};

/// The log weights of a span's set for some rows, [batch, heads, rows]; undefined where there are
/// none.
torch::Tensor weights_of(const RowArguments& arguments, const Span& span, const RowBlock& rows);

/// The scores of a block of rows over a block of keys, before log weights: docs/rows.md.
struct BlockScores {
  Folding fold;
  double on_query;        // the factor of `query`
  torch::Tensor query;    // [key batch, kv_heads, all rows, features]
  torch::Tensor keys;     // [key batch, kv_heads, keys, features], in the dtype of sums
  torch::Tensor scores;   // [key batch, kv_heads, all rows, keys]
  torch::Tensor dropped;  // bool, as the scores: hidden, or below the row's threshold; undefined
                          // where nothing is

  double on_tanh = 0;    // scores = on_tanh factor tanh, under a soft cap
  torch::Tensor factor;  // of each row, [key batch, kv_heads, all rows, 1]; undefined: 1
  torch::Tensor tanh;    // of query.key; undefined without a cap

  /// The gradient of query.key from that of the scores, which is 0 in `mask`, where that is
  /// defined.
  torch::Tensor d_products(const torch::Tensor& d_scores, const torch::Tensor& mask) const;
};

BlockScores scores_of(const RowArguments& arguments, const Span& span, const RowBlock& rows,
                      const KeyBlock& keys);

}  // namespace motet::portable
