#include "motet/eval/intervals.h"

#include <ATen/ATen.h>

#include <random>

#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

constexpr uint64_t kSeed = 20241216;  // any, but always the same

/// Means over draws of items, and over all of them, which go last. [draws + 1], NaN where no item
/// that was drawn has the figure.
Tensor means_of(const Tensor& counts, const Tensor& sum, const Tensor& weight) {
  const auto all = torch::cat({counts, torch::ones({1, counts.size(1)}, counts.options())});
  return all.mv(sum) / all.mv(weight);
}

Tensor tensor_of(const std::vector<double>& values) {
  return torch::tensor(values, torch::kFloat64);
}

}  // namespace

Interval interval_of(const Tensor& values, int64_t items) {
  const auto value = values[-1].item<double>();
  if (items == 0) {
    return {};
  }
  if (items < Interval::kLeast) {
    return {value, {}, {}};
  }
  const auto draws = values.slice(0, 0, -1);
  const auto known = draws.masked_select(draws.isfinite());
  const auto at = [&](double q) { return known.quantile(q, 0).item<double>(); };
  return {value, at(0.025), at(0.975)};
}

void ItemFigure::add(const std::optional<double>& value) { add(value.value_or(0), value ? 1 : 0); }

void ItemFigure::add(double item_sum, double item_weight) {
  sum.push_back(item_sum);
  weight.push_back(item_weight);
}

Resamples::Resamples(int64_t items, int64_t stream) {
  require(items >= 1, "motet::Resamples: ", items, " items");
  std::vector<double> counts(kCount * items, 0);
  std::mt19937_64 random(kSeed + static_cast<uint64_t>(stream));
  for (int64_t draw = 0; draw < kCount; ++draw) {
    for (int64_t i = 0; i < items; ++i) {
      // The top 32 bits, scaled: the same items on every system.
      const auto item =
          static_cast<int64_t>(((random() >> 32) * static_cast<uint64_t>(items)) >> 32);
      counts[draw * items + item] += 1;
    }
  }
  counts_ = torch::tensor(counts, torch::kFloat64).view({kCount, items});
}

Tensor Resamples::means(const ItemFigure& figure) const {
  return means_of(counts_, tensor_of(figure.sum), tensor_of(figure.weight));
}

Interval Resamples::over(const ItemFigure& figure) const {
  const auto weight = tensor_of(figure.weight);
  return interval_of(means_of(counts_, tensor_of(figure.sum), weight),
                     (weight > 0).sum().item<int64_t>());
}

Interval Resamples::difference(const ItemFigure& a, const ItemFigure& b) const {
  const auto weight_a = tensor_of(a.weight), weight_b = tensor_of(b.weight);
  const auto both = (weight_a > 0).logical_and(weight_b > 0).to(torch::kFloat64);
  return interval_of(means_of(counts_, tensor_of(a.sum) * both, weight_a * both) -
                         means_of(counts_, tensor_of(b.sum) * both, weight_b * both),
                     both.sum().item<int64_t>());
}

}  // namespace motet
