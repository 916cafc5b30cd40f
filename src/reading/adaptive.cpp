#include "motet/reading/adaptive.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "attention/infinity.h"
#include "attention/plain.h"
#include "motet/error.h"
#include "reading/window_rows.h"

namespace motet {
namespace {

using torch::Tensor;

int64_t pieces_of(const KeySets& split) { return split.sets() / 2 - 1; }

/// The keys of each piece's bulk, [batch, kv_heads, keys, features].
std::vector<Tensor> bulk_keys(torch::TensorList keys, const KeySets& bulk) {
  const auto pieces = pieces_of(bulk);
  std::vector<Tensor> of_pieces(pieces, keys[0].slice(2, 0, 0));
  for (const auto& span : bulk.spans()) {
    auto first = span.first_key;
    const auto* tensor = keys.begin();
    while (first >= tensor->size(2)) {
      first -= (tensor++)->size(2);
    }
    of_pieces[span.set - pieces - 2] = tensor->slice(2, first, first + span.keys);
  }
  return of_pieces;
}

/// The lse of bulks as the reading wants to know it, [batch, heads, query, pieces or 1].
Tensor bulk_lse(const BulkNeeds& needs, const WindowSets& sets, const Tensor& query,
                torch::TensorList keys, double scale, const std::vector<GaussianKeys>* bulks) {
  if (needs.mass == BulkMass::kNothing) {
    return {};
  }
  if (needs.mass == BulkMass::kTrue) {
    const auto lse = score(query, keys, sets.bulk, 0, {.rule = {.scale = scale}, .entropy = false})
                         .lse.slice(3, pieces_of(sets.bulk) + 2);
    return needs.by_piece ? lse : lse.logsumexp(3, true);
  }
  std::vector<GaussianKeys> made;
  if (bulks == nullptr) {
    std::vector<KeyMoments> moments;
    for (const auto& of_piece : bulk_keys(keys, sets.bulk)) {
      moments.push_back(moments_of(of_piece));
    }
    const bool wide = query.scalar_type() == torch::kFloat64;
    made = model_bulks(needs, moments, scale, wide ? torch::kFloat64 : torch::kFloat32);
    bulks = &made;
  }
  if (bulks->size() == 1) {
    return bulks->front().log_mass(query).unsqueeze(3);
  }
  std::vector<Tensor> estimates;
  for (const auto& bulk : *bulks) {
    estimates.push_back(bulk.log_mass(query));
  }
  return torch::stack(estimates, 3);
}

}  // namespace

Tensor bulks_needed(const Tensor& window_lse, const Tensor& bulk_lse, double tau) {
  const auto least = std::log(tau / (1 - tau));
  // Nothing is needed of a bulk without keys, not even by an empty window: no comparison with NaN
  // holds.
  if (bulk_lse.size(-1) == 1) {
    if (is_plain({window_lse, bulk_lse}) && window_lse.numel() == bulk_lse.numel()) {
      auto needed = at::empty(bulk_lse.sizes(), bulk_lse.options().dtype(torch::kBool));
      const auto *window = window_lse.const_data_ptr<float>(),
                 *bulk = bulk_lse.const_data_ptr<float>();
      auto* is_needed = needed.data_ptr<bool>();
      for (int64_t i = 0; i < needed.numel(); ++i) {
        is_needed[i] = window[i] - bulk[i] < static_cast<float>(least);
      }
      return needed;
    }
    return (window_lse.unsqueeze(-1) - bulk_lse) < least;
  }
  const auto ordered = bulk_lse.sort(/*stable=*/true, -1, /*descending=*/true);
  const auto& [lse, order] = ordered;
  // ln of what is read and of what is not, where all before this one are read.
  const auto with =
      torch::cat({window_lse.unsqueeze(-1), lse.slice(-1, 0, -1)}, -1).logcumsumexp(-1);
  const auto without = lse.flip({-1}).logcumsumexp(-1).flip({-1});
  const auto needed = (with - without) < least;
  return torch::empty_like(needed).scatter_(-1, order, needed);
}

std::optional<Tensor> WindowReading::decide(const Scores& scores) const {
  const auto pieces = scores.lse.size(3) / 2 - 1;
  const at::NoGradGuard no_grad;  // a choice is constant
  auto log_weight = torch::zeros_like(scores.lse);
  log_weight.slice(3, 2 + pieces).masked_fill_(reads(scores, pieces).logical_not(), -kInfinity);
  return log_weight;
}

void AdaptiveOptions::validate() const {
  require(tau >= 0 && tau <= 1, "motet::Adaptive: tau = ", tau, "; it is within [0, 1]");
  require(mass != BulkMass::kNothing, "motet::Adaptive: it decides by the mass of the bulk");
  window.validate();
}

Adaptive::Adaptive(AdaptiveOptions options) : options_(options) { options.validate(); }

std::string Adaptive::name() const {
  std::string text = fmt::format(
      "{}(tau={}", options_.mass == BulkMass::kTrue ? "oracle" : "adaptive", options_.tau);
  text += options_.covariance == Covariance::kDiagonal ? ", diagonal" : "";
  text += options_.mixture ? ", mixture" : "";
  if (options_.window != Window()) {
    text += fmt::format(", window={}+{}", options_.window.first, options_.window.last);
  }
  return text + ")";
}

ReadingNeeds Adaptive::needs() const {
  return {.bulk = BulkNeeds{.window = options_.window,
                            .mass = options_.mass,
                            .covariance = options_.covariance,
                            .by_piece = options_.mixture}};
}

Tensor Adaptive::reads(const Scores& scores, int64_t pieces) const {
  const auto needed = bulks_needed(scores.row_lse, scores.bulk, options_.tau);
  auto sizes = needed.sizes().vec();
  sizes[3] = pieces;
  return needed.expand(sizes);
}

FixedHeads::FixedHeads(Tensor is_long, Window window, std::string name)
    : is_long_(std::move(is_long)), window_(window), name_(std::move(name)) {
  window.validate();
  require(is_long_.dim() == 2 && is_long_.scalar_type() == torch::kBool,
          "motet::FixedHeads: heads of ", is_long_.sizes(), " ", is_long_.scalar_type(),
          "; they are bool, [layers, heads]");
}

std::string FixedHeads::name() const {
  return fmt::format("{}({} of {} long)", name_, is_long_.sum().item<int64_t>(), is_long_.numel());
}

ReadingNeeds FixedHeads::needs() const {
  return {.bulk = BulkNeeds{.window = window_, .mass = BulkMass::kNothing}};
}

Tensor FixedHeads::reads(const Scores& scores, int64_t pieces) const {
  const auto& lse = scores.lse;
  require(scores.layer < is_long_.size(0) && lse.size(1) == is_long_.size(1),
          "motet::FixedHeads: layer ", scores.layer, " with ", lse.size(1),
          " heads, but the pattern is of ", is_long_.size(0), " layers of ", is_long_.size(1),
          " heads; it was made for another model");
  return is_long_[scores.layer]
      .view({1, -1, 1, 1})
      .expand({lse.size(0), lse.size(1), lse.size(2), pieces});
}

Tensor BulkRows::read() const {
  return log_weight->slice(3, pieces_of(sets.all) + 2) != -kInfinity;
}

std::vector<GaussianKeys> model_bulks(const BulkNeeds& needs,
                                      const std::vector<KeyMoments>& moments, double scale,
                                      torch::ScalarType dtype) {
  std::vector<GaussianKeys> bulks;
  if (needs.by_piece) {
    for (const auto& piece : moments) {
      bulks.emplace_back(piece, needs.covariance, scale, dtype);
    }
    return bulks;
  }
  KeyMoments all;
  for (const auto& piece : moments) {
    all += piece;
  }
  bulks.emplace_back(all, needs.covariance, scale, dtype);
  return bulks;
}

ReadRows read_window_rows(const Reading& reading, const Tensor& query, torch::TensorList keys,
                          torch::TensorList values, const KeySets& sets,
                          const std::vector<int64_t>& queries, const RowOptions& options,
                          int64_t layer, const KnownBulks& known) {
  if (sets.sets() == 2) {
    return {
        attend(query, keys, values, sets, {}, options), {}, options.threshold, {}};  // no pieces
  }
  const auto needs = *reading.needs().bulk;
  auto split = known.sets != nullptr ? *known.sets : split_window(sets, needs.window);
  const auto scale = options.rule.scale_of(query.size(3));
  std::optional<Tensor> log_weight;
  {
    const at::NoGradGuard no_grad;
    auto scores = score(query, keys, split.window, 0, {.rule = {.scale = scale}, .entropy = false});
    scores.queries = queries;
    scores.layer = layer;
    scores.bulk = bulk_lse(needs, split, query, keys, scale, known.estimates);
    log_weight = reading.decide(scores).value_or(torch::zeros_like(scores.lse));
  }
  const auto row = attend(query, keys, values, split.all, log_weight, options);
  return {join_window(row),
          {},
          options.threshold,
          BulkRows{needs.window, std::move(split), log_weight}};
}

}  // namespace motet
