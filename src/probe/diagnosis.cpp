#include "motet/probe/diagnosis.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

/// Where the pieces lie among the tensors of keys: behind the prefix, if there is one.
std::vector<Tensor> pieces_of(const std::vector<Tensor>& x, const Observation& seen) {
  const auto all = torch::cat(x, 2);
  std::vector<Tensor> pieces;
  auto first = seen.prefix;
  for (const auto length : seen.pieces) {
    pieces.push_back(all.slice(2, first, first + length));
    first += length;
  }
  return pieces;
}

Tensor norms(const Tensor& x) { return x.to(torch::kFloat64).norm(2, -1); }

/// Mean |score| over rows, [heads, keys], some rows at a time.
Tensor mean_abs_score(const Tensor& query, const Tensor& keys, const ScoreRule& rule) {
  constexpr int64_t kScores = 1 << 24;  // of all heads at once
  const auto kv_heads = keys.size(1), rows = query.size(2);
  const auto type = query.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
  const auto k = keys.to(type).transpose(2, 3);
  const auto step = std::clamp<int64_t>(kScores / (query.size(1) * keys.size(2)), 1, rows);
  auto sum = torch::zeros({query.size(1), keys.size(2)}, torch::kFloat64);
  for (int64_t first = 0; first < rows; first += step) {
    const auto q = query.slice(2, first, std::min(rows, first + step)).to(type);
    auto scores = torch::matmul(q.unflatten(1, {kv_heads, -1}).flatten(2, 3), k)
                      .unflatten(2, {-1, q.size(2)});  // [1, kv_heads, group, rows, keys]
    if (rule.cap) {
      scores = rule.scores(scores, query.size(3));
    }
    sum += scores.abs().to(torch::kFloat64).sum(3).flatten(1, 2).sum(0).cpu();
  }
  const auto scale = rule.cap ? 1 : rule.scale_of(query.size(3));
  return sum * scale / static_cast<double>(rows * query.size(0));
}

}  // namespace

void DiagnosisProbe::Places::add(const Tensor& piece, int64_t rows) {
  const auto length = piece.size(1);
  if (!sum.defined() || sum.size(1) < length) {
    auto longer = torch::zeros({piece.size(0), length}, torch::kFloat64);
    auto counts = torch::zeros({length}, torch::kFloat64);
    if (sum.defined()) {
      longer.slice(1, 0, sum.size(1)).copy_(sum);
      counts.slice(0, 0, sum.size(1)).copy_(count);
    }
    sum = longer;
    count = counts;
  }
  sum.slice(1, 0, length).add_(piece.cpu(), static_cast<double>(rows));
  count.slice(0, 0, length).add_(static_cast<double>(rows));
}

Tensor DiagnosisProbe::mean_of(const std::vector<Places>& layers) {
  require(!layers.empty() && layers[0].sum.defined(),
          "motet::DiagnosisProbe: no query was observed to read pieces");
  std::vector<Tensor> means;
  for (const auto& layer : layers) {
    means.push_back(layer.sum / layer.count);
  }
  return torch::stack(means);
}

void DiagnosisProbe::observe(const Observation& seen) {
  if (seen.kind != RowKind::kQuery) {
    return;
  }
  const auto layer = static_cast<std::size_t>(seen.layer);
  for (auto* places : {&key_norm_, &value_norm_, &cosine_, &abs_score_}) {
    places->resize(std::max(places->size(), layer + 1));
  }
  const auto rows = seen.query.size(2);
  const auto query = seen.query.to(torch::kFloat64);
  query_norm_.add(seen.layer, query.norm(2, -1));
  // The mean of q.k / (|q| |k|) over rows is that of q / |q|, times k / |k|.
  const auto direction =
      (query / query.norm(2, -1, true).clamp_min(1e-300)).mean({0, 2});  // [heads, features]
  for (const auto& keys : pieces_of(seen.keys, seen)) {
    const auto norm = norms(keys);  // [1, kv_heads, keys]
    key_norm_[layer].add(norm[0], rows);
    const auto group = direction.size(0) / keys.size(1);
    const auto along = torch::matmul(
        direction.unflatten(0, {-1, group}),
        (keys[0].to(torch::kFloat64) / norm[0].unsqueeze(2).clamp_min(1e-300)).transpose(1, 2));
    cosine_[layer].add(along.flatten(0, 1), rows);
    abs_score_[layer].add(mean_abs_score(seen.query, keys, seen.rule), rows);
  }
  for (const auto& values : pieces_of(seen.values, seen)) {
    value_norm_[layer].add(norms(values)[0], rows);
  }
}

}  // namespace motet
