#include "motet/probe/statistic.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "motet/error.h"

namespace motet {
namespace {

constexpr const char* kUneven =
    "motet::RowStatistic: layers have different numbers of rows; their mean is all that there is";

}  // namespace

void RowStatistic::add(int64_t layer, const torch::Tensor& rows) {
  if (layer >= static_cast<int64_t>(layers_.size())) {
    layers_.resize(layer + 1);
  }
  layers_[layer].push_back(rows);
}

RowStatistic RowStatistic::map(
    const std::function<torch::Tensor(const torch::Tensor&)>& make) const {
  auto made = *this;
  for (auto& passes : made.layers_) {
    std::transform(passes.begin(), passes.end(), passes.begin(), make);
  }
  return made;
}

torch::Tensor RowStatistic::rows() const {
  require(!layers_.empty(), "motet::RowStatistic: nothing was observed");
  std::vector<torch::Tensor> layers;
  for (const auto& passes : layers_) {
    require(!passes.empty(), kUneven);
    layers.push_back(torch::cat(passes, 2));
    require(layers.back().size(2) == layers[0].size(2), kUneven);
  }
  return torch::stack(layers);
}

torch::Tensor RowStatistic::last() const {
  require(!layers_.empty(), "motet::RowStatistic: nothing was observed");
  std::vector<torch::Tensor> layers;
  for (const auto& passes : layers_) {
    require(!passes.empty(), kUneven);
    layers.push_back(passes.back().select(2, -1));
  }
  return torch::stack(layers);
}

torch::Tensor RowStatistic::heads() const { return rows().to(torch::kFloat64).mean({1, 3}); }

torch::Tensor RowStatistic::mean() const {
  require(!layers_.empty(), "motet::RowStatistic: nothing was observed");
  std::vector<torch::Tensor> all;
  for (const auto& passes : layers_) {
    for (const auto& rows : passes) {
      all.push_back(rows.to(torch::kFloat64).flatten(0, 2));
    }
  }
  return torch::cat(all).mean(0);
}

double RowStatistic::mean_of_passes() const {
  require(!layers_.empty(), "motet::RowStatistic: nothing was observed");
  double sum = 0;
  int64_t count = 0;
  for (const auto& passes : layers_) {
    for (const auto& rows : passes) {
      sum += rows.to(torch::kFloat64).mean().item<double>();
      ++count;
    }
  }
  return sum / static_cast<double>(count);
}

}  // namespace motet
