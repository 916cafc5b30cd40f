#include "kernel/checked.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

/// Keys, or values, against the query: shapes, head counts and dtype, as one number of keys.
int64_t check_keys(const char* where, const char* what, const Tensor& query,
                   torch::TensorList tensors) {
  int64_t count = 0;
  for (const auto& tensor : tensors) {
    require(tensor.dim() == 4, where, ": ", what, " of ", tensor.dim(),
            " dimensions; they are [batch, kv_heads, keys, features]");
    require(tensor.scalar_type() == query.scalar_type() && tensor.device() == query.device(), where,
            ": ", what, " are ", tensor.scalar_type(), " on ", tensor.device(), ", the query is ",
            query.scalar_type(), " on ", query.device());
    require(tensor.size(0) == 1 || tensor.size(0) == query.size(0), where, ": a batch of ",
            query.size(0), " queries over a batch of ", tensor.size(0), " ", what);
    require(tensor.size(1) > 0 && query.size(1) % tensor.size(1) == 0, where, ": ", query.size(1),
            " query heads do not divide into ", tensor.size(1), " heads of ", what);
    require(tensor.size(1) == tensors[0].size(1), where, ": ", what, " of ", tensors[0].size(1),
            " heads in one tensor and of ", tensor.size(1), " in another; all have the same");
    count += tensor.size(2);
  }
  return count;
}

}  // namespace

RowArguments checked(const char* where, const Tensor& query, torch::TensorList keys,
                     torch::TensorList values, const KeySets& sets,
                     const std::optional<Tensor>& log_weight, const RowOptions& options) {
  require(query.dim() == 4, where, ": a query of ", query.dim(),
          " dimensions; it is [batch, heads, query, features]");
  require(query.is_floating_point(), where, ": a query of ", query.scalar_type());
  require(query.size(3) > 0, where, ": a query of ", query.sizes(),
          ", without features; it is [batch, heads, query, features]");
  const auto rows = query.size(2);
  require(rows == sets.rows(), where, ": ", rows, " query rows, but the sets describe ",
          sets.rows());
  const auto count = check_keys(where, "keys", query, keys);
  require(count == sets.keys(), where, ": ", count, " keys, but the sets describe ", sets.keys());
  for (const auto& tensor : keys) {
    require(tensor.size(3) == query.size(3), where, ": keys of ", tensor.size(3),
            " features, a query of ", query.size(3));
  }
  if (!values.empty()) {
    check_keys(where, "values", query, values);
    require(keys.size() == values.size(), where, ": ", keys.size(), " tensors of keys, ",
            values.size(), " of values");
    for (std::size_t i = 0; i < keys.size(); ++i) {
      require(keys[i].sizes().slice(0, 3) == values[i].sizes().slice(0, 3) &&
                  values[i].size(3) == values[0].size(3),
              where, ": keys of ", keys[i].sizes(), ", values of ", values[i].sizes());
    }
  }
  for (const auto& span : sets.spans()) {
    int64_t first = 0;
    for (const auto& tensor : keys) {
      const auto last = first + tensor.size(2);
      require(
          span.first_key < first || span.first_key >= last || span.first_key + span.keys <= last,
          where, ": the span (", span, ") crosses the end of a key tensor at ", last);
      first = last;
    }
  }
  if (log_weight) {
    const auto shape = std::vector<int64_t>{query.size(0), query.size(1), rows, sets.sets()};
    require(log_weight->sizes() == shape, where, ": log weights of ", log_weight->sizes(),
            "; they are [batch, heads, query, sets] = ", torch::IntArrayRef(shape));
  }
  if (options.threshold) {
    const auto shape = query.sizes().slice(0, 3);
    require(options.threshold->sizes() == shape, where, ": thresholds of ",
            options.threshold->sizes(), "; they are [batch, heads, query] = ", shape);
  }
  auto scaled = query;
  std::optional<Tensor> factor;
  if (options.factor) {
    factor = options.factor->detach().to(query.device());
    const auto shape = query.sizes().slice(0, 3);
    require(at::is_expandable_to(factor->sizes(), shape), where, ": factors of ", factor->sizes(),
            "; they are broadcast to [batch, heads, query] = ", shape);
    require((factor->isfinite().logical_and_(*factor > 0)).all().item<bool>(), where,
            ": a row's factor on its scores is not a number above 0");
    factor = factor->expand(shape);
    if (!options.rule.cap) {
      scaled = (query * factor->unsqueeze(-1)).to(query.scalar_type());
      factor = std::nullopt;
    }
  }
  require(options.top >= 0, where, ": top = ", options.top,
          "; 0 or more of the largest scores can be kept");
  options.rule.validate(where);
  RowArguments arguments{.query = scaled,
                         .keys = keys.vec(),
                         .values = values.vec(),
                         .sets = sets,
                         .log_weight = log_weight,
                         .threshold = options.threshold,
                         .scale = options.rule.scale_of(query.size(3)),
                         .cap = options.rule.cap,
                         .factor = factor,
                         .entropy = options.entropy,
                         .top = options.top};
  options.budget.validate(where);
  if (options.budget.wanted()) {
    const at::NoGradGuard no_grad;
    arguments.counts_first = options.budget.counts_first;
    arguments.budget = keys_of_rows(options.budget, sets, log_weight)
                           .to(query.device())
                           .expand(query.sizes().slice(0, 3))
                           .contiguous();
  }
  return arguments;
}

std::vector<Tensor> inputs_of(const RowArguments& arguments) {
  std::vector<Tensor> inputs{arguments.query};
  inputs.insert(inputs.end(), arguments.keys.begin(), arguments.keys.end());
  inputs.insert(inputs.end(), arguments.values.begin(), arguments.values.end());
  if (arguments.log_weight) {
    inputs.push_back(*arguments.log_weight);
  }
  return inputs;
}

bool wants_gradient(const std::vector<Tensor>& inputs) {
  return at::GradMode::is_enabled() &&
         std::any_of(inputs.begin(), inputs.end(),
                     [](const Tensor& input) { return input.requires_grad(); });
}

}  // namespace motet
