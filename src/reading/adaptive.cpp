#include "motet/reading/adaptive.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <cmath>
#include <utility>

#include "attention/infinity.h"
#include "attention/plain.h"
#include "motet/error.h"
#include "reading/shipped.h"

namespace motet {
using torch::Tensor;

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

std::optional<Tensor> WindowReading::decide(const PieceScores& scores) const {
  const auto& sets = scores.sets;
  const at::NoGradGuard no_grad;  // a choice is constant
  auto log_weight = torch::zeros_like(scores.lse);
  sets.bulks_in(log_weight).masked_fill_(reads(scores, sets.pieces()).logical_not(), -kInfinity);
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

Tensor Adaptive::reads(const PieceScores& scores, int64_t pieces) const {
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

Tensor FixedHeads::reads(const PieceScores& scores, int64_t pieces) const {
  const auto& lse = scores.lse;
  require(scores.layer < is_long_.size(0) && lse.size(1) == is_long_.size(1),
          "motet::FixedHeads: layer ", scores.layer, " with ", lse.size(1),
          " heads, but the pattern is of ", is_long_.size(0), " layers of ", is_long_.size(1),
          " heads; it was made for another model");
  return is_long_[scores.layer]
      .to(lse.device())
      .view({1, -1, 1, 1})
      .expand({lse.size(0), lse.size(1), lse.size(2), pieces});
}

ReadingKind adaptive_kind() {
  return {.name = "adaptive",
          .usage = "adaptive[:TAU[:full or diagonal[:mixture]]]",
          .make = [](const ReadingText& text) {
            text.at_most(3);
            AdaptiveOptions options;
            options.tau = text.number(0, options.tau);
            const auto covariance = text.word(1, "full");
            if (covariance != "full" && covariance != "diagonal") {
              text.fail("the covariance '" + covariance + "' is not full or diagonal");
            }
            options.covariance = covariance == "full" ? Covariance::kFull : Covariance::kDiagonal;
            if (text.word(2, "mixture") != "mixture") {
              text.fail("'" + text.word(2) + "' is not mixture");
            }
            options.mixture = text.count() > 2;
            return std::make_shared<Adaptive>(options);
          }};
}

}  // namespace motet
