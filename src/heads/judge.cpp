#include "motet/heads/judge.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

#include "motet/attention/scores.h"
#include "motet/error.h"

namespace motet {

using torch::Tensor;

namespace {

/// Throws Error where some row does not see all of the bulk, or scores are capped, have factors or
/// a threshold: its moments would be of other scores.
void check_all_see_the_bulk(const char* where, const Observation& seen) {
  require(!seen.rule.cap && !seen.bulk->sets.bulk.hides_first_keys(), where, ": layer ", seen.layer,
          " has a ", seen.rule.cap ? "soft cap" : "window",
          "; the bulk is judged where all rows see it, by scores without a cap");
  bool factors = seen.factor.has_value();
  for (int64_t set = 0; set < seen.bulk->sets.all.sets(); ++set) {
    factors = factors || seen.bulk->sets.all.factor(set) != 1;
  }
  require(!factors && !seen.threshold, where, ": scores of layer ", seen.layer, " have ",
          factors ? "factors" : "a threshold", "; the bulk is judged by scores as they are");
}

}  // namespace

void HeadJudge::observe(const Observation& seen) {
  if (seen.kind != RowKind::kQuery) {
    return;
  }
  require(seen.bulk.has_value(), "motet::HeadJudge: the reading decides about no bulk");
  check_all_see_the_bulk("motet::HeadJudge", seen);
  const auto& sets = seen.bulk->sets;
  const RowOptions options{.rule = seen.rule, .entropy = false};
  // As `read_rows` computes them, to the last bit: the oracle never disagrees with itself.
  const auto window = score(seen.query, seen.keys, sets.window, 0, options).row_lse;
  const auto bulk =
      sets.meaning.bulks_in(score(seen.query, seen.keys, sets.bulk, 0, options).lse).logsumexp(3);
  KeyMoments moments;
  for (const auto& of_piece : bulk_moments(context_, seen.layer, seen.bulk->window)) {
    moments += of_piece;
  }
  const GaussianKeys keys(moments, covariance_, seen.rule.scale_of(seen.query.size(3)),
                          bulk.scalar_type());
  local_.add(seen.layer, seen.bulk->read().any(3).logical_not().to(torch::kFloat32));
  window_.add(seen.layer, window);
  bulk_.add(seen.layer, bulk);
  estimate_.add(seen.layer, keys.log_mass(seen.query));
}

double read_share(const Tensor& local, int64_t kv_heads, double window, double bulk) {
  const auto groups = local.unflatten(2, {kv_heads, local.size(2) / kv_heads});
  const auto read = (groups.amin(3) == 0).to(torch::kFloat64).mean().item<double>();
  return (window + read * bulk) / (window + bulk);
}

void GaussianFit::observe(const Observation& seen) {
  if (seen.kind != RowKind::kQuery) {
    return;
  }
  require(seen.bulk.has_value(), "motet::GaussianFit: the reading decides about no bulk");
  check_all_see_the_bulk("motet::GaussianFit", seen);
  std::vector<Tensor> bulks;
  for (const auto& piece : context_.pieces) {
    const auto [first, last] =
        bulk_of(seen.bulk->window, piece.length(), &piece == &context_.pieces.back());
    bulks.push_back(piece.keys.at(seen.layer).slice(2, first, last));
  }
  const auto keys = torch::cat(bulks, 2).to(torch::kFloat32);  // [1, kv_heads, keys, features]
  const auto count = keys.size(2), rows = seen.query.size(2);
  require(count > 1, "motet::GaussianFit: a bulk of ", count, " keys; 2 are needed");
  const auto at = torch::linspace(0, static_cast<double>(rows - 1), std::min(rows, rows_))
                      .round()
                      .to(torch::kInt64);
  const auto query = seen.query.index_select(2, at).to(torch::kFloat32);
  const auto heads = query.size(1), kv_heads = keys.size(1);
  const auto grouped = query.unflatten(1, {kv_heads, heads / kv_heads});
  const auto scores = torch::matmul(grouped, keys.unsqueeze(2).transpose(3, 4)).flatten(1, 2);
  const auto deviation = scores.std(3, /*unbiased=*/false, /*keepdim=*/true);
  const auto z = std::get<0>(
      ((scores - scores.mean(3, true)) / deviation.clamp_min(1e-30)).to(torch::kFloat64).sort(3));
  const auto normal = (1 + torch::erf(z * std::numbers::sqrt2 / 2)) / 2;
  const auto below = torch::arange(count, normal.options()) / static_cast<double>(count);
  const auto step = 1 / static_cast<double>(count);
  distance_.add(seen.layer,
                torch::maximum((below + step - normal).abs(), (normal - below).abs()).amax(3));
  // Counts of a sorted row are differences of where the edges of the bins fall.
  const auto edges = torch::linspace(-kDeviations, kDeviations, kBins + 1, normal.options());
  auto shape = z.sizes().vec();
  shape.back() = kBins - 1;
  const auto inner = edges.slice(0, 1, kBins).expand(shape).contiguous();
  const auto falls = torch::searchsorted(z, inner).to(torch::kFloat64) * step;
  shape.back() = 1;
  const auto all = torch::cat(
      {torch::zeros(shape, normal.options()), falls, torch::ones(shape, normal.options())}, 3);
  histogram_.add(seen.layer, all.diff(1, 3));
}

}  // namespace motet
