#include "motet/train/sparsity.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "motet/error.h"
#include "motet/names.h"

namespace motet {
namespace {

using torch::Tensor;

constexpr Names<Penalty, 4> kPenalties({{Penalty::kTail, "tail"},
                                        {Penalty::kLog, "log"},
                                        {Penalty::kHinge, "hinge"},
                                        {Penalty::kEntropy, "entropy"}});

/// l of each row.
Tensor penalty_of(const Row& row, const SparsityOptions& options) {
  switch (options.penalty) {
    case Penalty::kTail:
      return 1 - row.top_mass;
    case Penalty::kLog:
      return -row.top_mass.log();
    case Penalty::kHinge:
      return (1 - options.floor - row.top_mass).clamp_min(0);
    case Penalty::kEntropy:
      return row.entropy;
  }
  TORCH_INTERNAL_ASSERT(false);
}

bool chosen(const std::vector<int64_t>& some, int64_t one) {
  return some.empty() || std::find(some.begin(), some.end(), one) != some.end();
}

void check_chosen(const char* field, const std::vector<int64_t>& some) {
  for (const auto one : some) {
    require(one >= 0, "motet::SparsityOptions: ", field, " has ", one, "; they count from 0");
    require(std::count(some.begin(), some.end(), one) == 1, "motet::SparsityOptions: ", field,
            " has ", one, " twice");
  }
}

void check_there(const char* field, const std::vector<int64_t>& some, int64_t count) {
  for (const auto one : some) {
    require(one < count, "motet::Sparsity: ", field, " has ", one, ", the model has ", count,
            " (they count from 0)");
  }
}

}  // namespace

Penalty penalty_named(std::string_view name) { return kPenalties.named("the penalty", name); }

std::string name_of(Penalty penalty) { return std::string(kPenalties.of(penalty)); }

void SparsityOptions::validate() const {
  require(keys >= 1, "motet::SparsityOptions: keys = ", keys, "; a row has a budget of at least 1");
  require(!share || (*share > 0 && *share <= 1),
          "motet::SparsityOptions: share = ", share.value_or(0), "; it is within (0, 1]");
  require(floor >= 0 && floor < 1, "motet::SparsityOptions: floor = ", floor,
          "; it is within [0, 1)");
  require(std::isfinite(weight) && weight >= 0, "motet::SparsityOptions: weight = ", weight,
          "; it is finite and not below 0");
  require(warmup >= 0, "motet::SparsityOptions: warmup = ", warmup,
          "; a number of steps is wanted");
  check_chosen("layers", layers);
  check_chosen("heads", heads);
}

Sparsity::Sparsity(SparsityOptions options) : options_(std::move(options)) { options_.validate(); }

PenaltyNeeds Sparsity::needs(int64_t layer, int64_t layers) const {
  check_there("layers", options_.layers, layers);
  if (!chosen(options_.layers, layer)) {
    return {};
  }
  return options_.penalty == Penalty::kEntropy ? PenaltyNeeds{.entropy = true}
                                               : PenaltyNeeds{.budget = options_.budget()};
}

Tensor Sparsity::measure(const PenaltyRows& rows) const {
  auto penalty = penalty_of(rows.row, options_);  // [batch, heads, query]
  const auto heads = penalty.size(1);
  check_there("heads", options_.heads, heads);
  auto counted = (keys_of_rows(options_.budget(), rows.sets, rows.log_weight) > 0)
                     .to(penalty.device())
                     .expand(penalty.sizes());
  if (!options_.heads.empty()) {
    const auto index = torch::tensor(options_.heads, torch::kInt64).to(penalty.device());
    penalty = penalty.index_select(1, index);
    counted = counted.index_select(1, index);
  }
  return torch::stack({penalty.masked_fill(counted.logical_not(), 0).sum(),
                       counted.sum().to(penalty.scalar_type())});
}

Tensor Sparsity::penalty() const {
  Tensor total;  // [2]
  for (const auto& layer : layers_) {
    if (layer.defined()) {
      total = total.defined() ? total + layer : layer;
    }
  }
  require(total.defined(),
          "motet::Sparsity: no rows were measured; give it to motet::forward first");
  return total[0] / total[1].clamp_min(1);
}

Tensor Sparsity::loss() const { return weight() * penalty(); }

Tensor Sparsity::penalty_of_layers() const {
  std::vector<double> means;
  for (const auto& layer : layers_) {
    const auto total = layer.defined() ? layer.detach().to(torch::kFloat64) : Tensor();
    means.push_back(layer.defined() ? (total[0] / total[1]).item<double>()
                                    : std::numeric_limits<double>::quiet_NaN());
  }
  return torch::tensor(means, torch::kFloat64);
}

double Sparsity::weight() const {
  return options_.warmup == 0
             ? options_.weight
             : options_.weight * std::min(1.0, static_cast<double>(steps_ + 1) /
                                                   static_cast<double>(options_.warmup));
}

}  // namespace motet
