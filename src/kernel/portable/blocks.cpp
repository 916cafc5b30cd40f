#include "kernel/portable/blocks.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "attention/place.h"

namespace motet::portable {
namespace {

using torch::Tensor;

constexpr int64_t kBlockRows = 128;
constexpr int64_t kBlockKeys = 256;  // at least; as many as kBlockScores allows

/// Which of the span's keys [first, last) are hidden from rows; undefined where none is.
Tensor hidden_keys(const RowArguments& arguments, const Span& span, const RowBlock& rows,
                   const KeyRange& keys) {
  std::vector<int64_t> firsts, lasts;  // of each row
  bool hides = false;
  for (auto row = rows.first; row < rows.last; ++row) {
    const auto seen = span.seen_by(row - span.first_row);
    firsts.push_back(seen.first);
    lasts.push_back(seen.last);
    hides = hides || seen.first > keys.first || seen.last < keys.last;
  }
  if (!hides) {
    return {};
  }
  const auto device = arguments.query.device();
  const auto key = torch::arange(keys.first, keys.last, torch::kInt64).to(device);
  const auto of_rows = [&](const std::vector<int64_t>& x) {
    return torch::tensor(x, torch::kInt64).to(device).unsqueeze(1);
  };
  auto hidden = key >= of_rows(lasts);
  return span.first_visible.empty() ? hidden : hidden.logical_or_(key < of_rows(firsts));
}

/// On the scores of a span's set before its log weights are added, [batch, heads, rows].
Tensor thresholds(const RowArguments& arguments, const Span& span, const RowBlock& rows) {
  if (!arguments.threshold) {
    return {};
  }
  const auto threshold = arguments.threshold->slice(2, rows.first, rows.last);
  const auto log_weight = weights_of(arguments, span, rows);
  return log_weight.defined() ? threshold - log_weight : threshold;
}

}  // namespace

torch::ScalarType accumulator(const Tensor& tensor) {
  return tensor.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

RowBlock row_block(const Span& span, int64_t first, int64_t last) {
  KeyRange keys{span.keys, 0};
  for (auto row = first; row < last; ++row) {
    const auto seen = span.seen_by(row - span.first_row);
    if (seen.size() > 0) {
      keys = {std::min(keys.first, seen.first), std::max(keys.last, seen.last)};
    }
  }
  return {first, last, keys};
}

std::vector<RowBlock> row_blocks(const Span& span) {
  std::vector<RowBlock> blocks;
  for (int64_t first = 0; first < span.rows; first += kBlockRows) {
    const auto last = std::min(first + kBlockRows, span.rows);
    const auto block = row_block(span, span.first_row + first, span.first_row + last);
    if (block.keys.size() > 0) {
      blocks.push_back(block);
    }
  }
  return blocks;
}

std::vector<KeyBlock> key_blocks(const RowArguments& arguments, const Span& span,
                                 const RowBlock& rows) {
  const auto& query = arguments.query;
  const auto count = rows.last - rows.first;
  const auto rows_of_all = std::max<int64_t>(1, query.size(0) * query.size(1) * count);
  const auto step = std::max(kBlockKeys, kBlockScores / rows_of_all);
  std::vector<KeyBlock> blocks;
  if (rows.keys.size() == 0) {
    return blocks;
  }
  const auto [tensor, offset] = place_in(arguments.keys, span.first_key);
  for (auto first = rows.keys.first; first < rows.keys.last;) {
    // The last block is wide enough that each row of a causal span sees some of it.
    const auto rest = rows.keys.last - first;
    const auto last = first + (rest > step + count ? step : rest);
    blocks.push_back({tensor, offset + first, offset + last, span.first_key + first,
                      hidden_keys(arguments, span, rows, {first, last})});
    first = last;
  }
  return blocks;
}

Tensor Folding::fold(const Tensor& x) const {
  const auto split = x.unflatten(1, {kv_heads, heads / kv_heads});
  if (!shared) {
    return split.flatten(2, 3);
  }
  return split.transpose(0, 1).flatten(1, 3).unsqueeze(0);
}

Tensor Folding::unfold(const Tensor& x, int64_t rows) const {
  const auto group = heads / kv_heads;
  if (!shared) {
    return x.unflatten(2, {group, rows}).flatten(1, 2);
  }
  return x.squeeze(0).unflatten(1, {batch, group, rows}).transpose(0, 1).flatten(1, 2);
}

Tensor weights_of(const RowArguments& arguments, const Span& span, const RowBlock& rows) {
  return arguments.log_weight
             ? arguments.log_weight->select(3, span.set).slice(2, rows.first, rows.last)
             : Tensor();
}

BlockScores scores_of(const RowArguments& arguments, const Span& span, const RowBlock& rows,
                      const KeyBlock& block) {
  const auto& query = arguments.query;
  const auto& keys = arguments.keys[block.tensor];
  const auto factor = arguments.sets.factor(span.set);
  BlockScores of;
  of.fold = {query.size(0), query.size(1), keys.size(1), keys.size(0) != query.size(0)};
  of.on_query = arguments.cap ? arguments.scale / *arguments.cap : arguments.scale * factor;
  of.query =
      of.fold.fold(query.slice(2, rows.first, rows.last)).to(accumulator(query)) * of.on_query;
  of.keys = keys.slice(2, block.first, block.last).to(accumulator(query));
  of.scores = torch::matmul(of.query, of.keys.transpose(2, 3));
  if (arguments.cap) {
    of.on_tanh = *arguments.cap * factor;
    of.tanh = of.scores.tanh_();
    of.scores = of.tanh * of.on_tanh;
    if (arguments.factor) {
      of.factor = of.fold.fold(arguments.factor->slice(2, rows.first, rows.last))
                      .to(accumulator(query))
                      .unsqueeze(-1);
      of.scores.mul_(of.factor);
    }
  }
  if (block.hidden.defined()) {
    of.dropped = block.hidden.repeat({of.scores.size(2) / block.hidden.size(0), 1});
  }
  if (const auto threshold = thresholds(arguments, span, rows); threshold.defined()) {
    const auto below = of.scores < of.fold.fold(threshold).unsqueeze(-1);
    of.dropped = of.dropped.defined() ? of.dropped.logical_or(below) : below;
  }
  return of;
}

Tensor BlockScores::d_products(const Tensor& d_scores, const Tensor& mask) const {
  if (!tanh.defined()) {
    return d_scores;
  }
  auto products = (1 - tanh.square()).mul_(on_tanh).mul_(d_scores);
  if (factor.defined()) {
    products.mul_(factor);
  }
  return mask.defined() ? products.masked_fill_(mask, 0) : products;  // 0 * NaN is NaN
}

}  // namespace motet::portable
