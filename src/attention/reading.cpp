#include "motet/attention/reading.h"

#include <ATen/ATen.h>

#include <limits>

#include "attention/checked.h"
#include "attention/compute.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

/// The sum of the `count` largest along the last dimension (of all, where fewer).
Tensor sum_of_largest(const Tensor& x, int64_t count) {
  return count < x.size(-1) ? std::get<0>(x.topk(count, -1)).sum(-1) : x.sum(-1);
}

}  // namespace

Select::Select(SelectOptions options) : options_(options) {
  require(options.pieces >= 1, "motet::Select: pieces = ", options.pieces, "; at least 1 is kept");
  require(options.top >= 1, "motet::Select: top = ", options.top,
          "; a piece's score is the sum of at least 1 probability");
}

std::string Select::name() const {
  auto name = "select(K=" + std::to_string(options_.pieces) + ", r=" + std::to_string(options_.top);
  if (options_.heads || options_.rows) {
    name += options_.heads && options_.rows ? ", over heads and rows"
            : options_.heads                ? ", over heads"
                                            : ", over rows";
  }
  return name + ")";
}

std::optional<Tensor> Select::decide(const Scores& scores) const {
  const auto pieces = scores.lse.size(3) - 2;
  require(options_.pieces <= pieces, "motet::Select: K = ", options_.pieces, " of ", pieces,
          " pieces cannot be kept; choose a smaller K or more pieces");
  const at::NoGradGuard no_grad;                                 // a choice is constant
  const auto lse = scores.lse.logsumexp(3, true).unsqueeze(-1);  // over everything the row sees
  const auto probabilities = (scores.top.slice(3, 1, 1 + pieces) - lse).exp();
  // A row that sees no key at all has probability 0 everywhere, not NaN.
  auto score =
      sum_of_largest(probabilities.nan_to_num(0.0), options_.top);  // [b, heads, query, pieces]
  if (options_.heads && !options_.rows) {
    score = sum_of_largest(score.transpose(1, 3), options_.top)  // [b, pieces, query]
                .permute({0, 2, 1})
                .unsqueeze(1)
                .expand_as(score);
  } else if (options_.rows) {
    std::vector<Tensor> shared;
    for (std::size_t i = 0; i + 1 < scores.queries.size(); ++i) {
      const auto query = score.slice(2, scores.queries[i], scores.queries[i + 1]);
      const auto flat = options_.heads ? query.flatten(1, 2).unsqueeze(1) : query;
      shared.push_back(
          sum_of_largest(flat.transpose(2, 3), options_.top)  // [b, heads or 1, pieces]
              .unsqueeze(2)
              .expand_as(query));
    }
    score = torch::cat(shared, 2);
  }
  // Stable, so that ties go to the lower index.
  const auto order = std::get<1>(score.contiguous().sort(/*stable=*/true, 3, /*descending=*/true));
  const auto kept = order.slice(3, 0, options_.pieces);
  auto log_weight = torch::full_like(scores.lse, -std::numeric_limits<double>::infinity());
  log_weight.select(3, 0).zero_();
  log_weight.select(3, pieces + 1).zero_();
  log_weight.slice(3, 1, 1 + pieces).scatter_(3, kept, 0.0);
  return log_weight;
}

std::optional<RowChoice> Select::row_choice() const {
  if (options_.heads || options_.rows) {
    return {};
  }
  return RowChoice{.pieces = options_.pieces, .top = options_.top};
}

ReadRows read_rows(const Reading& reading, const Tensor& query, torch::TensorList keys,
                   torch::TensorList values, const KeySets& sets,
                   const std::vector<int64_t>& queries, const RowOptions& options) {
  if (const auto choice = reading.row_choice(); choice && options.top == 0) {
    auto arguments = checked("motet::read_rows", query, keys, values, sets, {}, options);
    if (choice->pieces <= sets.sets() - 2 && chooses(arguments) &&
        !wants_gradient(inputs_of(arguments))) {
      arguments.keep = choice->pieces;
      arguments.top = choice->top;
      const at::NoGradGuard no_grad;
      const auto result = compute(arguments);
      return {{result.out, result.lse, result.entropy, result.set_lse, result.set_entropy, {}},
              result.log_weight};
    }
  }
  std::optional<Tensor> log_weight;
  const auto needs = reading.needs();
  if (needs.scores || needs.top > 0) {
    auto scores = score(query, keys, sets, needs.top, {.scale = options.scale});
    scores.queries = queries;
    log_weight = reading.decide(scores);
  } else {
    log_weight = reading.decide({});
  }
  return {attend(query, keys, values, sets, log_weight, options), log_weight};
}

}  // namespace motet
