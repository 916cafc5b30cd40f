#include <ATen/ATen.h>

#include "attention/infinity.h"
#include "attention/merging.h"
#include "kernel/portable/blocks.h"
#include "kernel/portable/portable.h"

namespace motet::portable {
namespace {

using torch::Tensor;

/// One backward pass; sums are in the dtype of `accumulator`.
class Backward {
 public:
  Backward(const RowArguments& arguments, const RowResult& result, const RowResult& gradient)
      : arguments_(arguments),
        result_(result),
        gradient_(gradient),
        options_(arguments.query.options().dtype(accumulator(arguments.query))),
        out_(gradient.out.defined() && result.out.defined()) {
    constant_ = gradient.lse.defined() ? gradient.lse.to(options_.dtype()) : zeros(result.lse);
    if (out_) {
      constant_ =
          constant_ - (gradient.out.to(options_.dtype()) * result.out.to(options_.dtype())).sum(-1);
    }
    if (gradient.top_mass.defined()) {  // constant where T is all that a row sees
      d_mass_ = gradient.top_mass.masked_fill(result.top_threshold == -kInfinity, 0);
      constant_ = constant_ - d_mass_ * result.top_mass;
    }
    gradients_.query = zeros(arguments.query);
    for (const auto& keys : arguments.keys) {
      gradients_.keys.push_back(zeros(keys));
    }
    for (const auto& values : arguments.values) {
      gradients_.values.push_back(zeros(values));
    }
    if (arguments.log_weight) {
      gradients_.log_weight = zeros(*arguments.log_weight);
    }
  }

  /// Adds the gradients of one block of rows by keys: docs/sparsity.md,
  ///
  ///     ds_j = p_j [dout.v_j - dout.out + dlse - dH (ln p_j + H) + dm (1[j in T] - m)]
  ///
  /// and the same but for the last inside the set.
  void add(const Span& span, const RowBlock& block, const Tensor& log_weight,
           const KeyBlock& keys) {
    const auto count = block.last - block.first;
    const auto rows = [&](const Tensor& of) { return of.slice(2, block.first, block.last); };
    const auto of_set = [&](const Tensor& of) { return rows(of).select(3, span.set); };
    const auto of = scores_of(arguments_, span, block, keys);
    const auto& fold = of.fold;
    const auto folded = [&](const Tensor& x) {
      return fold.fold(x).to(options_.dtype()).unsqueeze(-1);
    };
    auto scores = of.scores;
    auto mask = of.dropped;
    Tensor dropped_rows;
    if (log_weight.defined()) {
      dropped_rows = log_weight == -kInfinity;
      const auto rows_mask = fold.fold(dropped_rows).unsqueeze(-1);
      mask = mask.defined() ? mask.logical_or(rows_mask) : rows_mask.expand_as(scores);
      scores = scores + folded(log_weight.masked_fill(dropped_rows, 0));
    }
    if (mask.defined()) {
      scores.masked_fill_(mask, 0);  // any finite score; its probability is 0 below
    }
    const auto probability_of = [&](const Tensor& log_probability) {
      auto p = log_probability.exp();
      return mask.defined() ? p.masked_fill_(mask, 0) : p;
    };
    const auto log_p = scores - folded(finite(rows(result_.lse)));
    const auto p = probability_of(log_p);
    Tensor inner = folded(rows(constant_)).expand_as(p);
    if (out_) {
      const auto d_out = fold.fold(rows(gradient_.out)).to(options_.dtype());
      const auto value =
          arguments_.values[keys.tensor].slice(2, keys.first, keys.last).to(options_.dtype());
      inner = inner + torch::matmul(d_out, value.transpose(2, 3));
      gradients_.values[keys.tensor]
          .slice(2, keys.first, keys.last)
          .add_(torch::matmul(p.transpose(2, 3), d_out));
    }
    if (gradient_.entropy.defined()) {
      inner = inner - folded(rows(gradient_.entropy)) * (log_p + folded(rows(result_.entropy)));
    }
    if (d_mass_.defined()) {
      auto inside = scores >= folded(rows(result_.top_threshold));
      if (keys.first_of_all == 0 && !arguments_.counts_first) {
        inside.select(3, 0).fill_(true);
      }
      inner = inner + folded(rows(d_mass_)) * inside;
    }
    auto d_scores = p * inner;
    if (gradient_.set_lse.defined() || gradient_.set_entropy.defined()) {
      const auto log_p_set = scores - folded(finite(of_set(result_.set_lse)));
      Tensor inner_set = torch::zeros_like(log_p_set);
      if (gradient_.set_lse.defined()) {
        inner_set = inner_set + folded(of_set(gradient_.set_lse));
      }
      if (gradient_.set_entropy.defined()) {
        inner_set = inner_set - folded(of_set(gradient_.set_entropy)) *
                                    (log_p_set + folded(of_set(result_.set_entropy)));
      }
      d_scores = d_scores + probability_of(log_p_set) * inner_set;
    }
    if (mask.defined()) {
      d_scores.masked_fill_(mask, 0);  // 0 * NaN, where a dropped key or its value is NaN
    }
    if (log_weight.defined()) {
      of_set(gradients_.log_weight).add_(fold.unfold(d_scores.sum(-1), count));
    }
    const auto d_products = of.d_products(d_scores, mask);
    auto d_query = fold.unfold(torch::matmul(d_products, of.keys), count);
    if (dropped_rows.defined()) {
      d_query = d_query.masked_fill(dropped_rows.unsqueeze(-1), 0);  // 0 * NaN again
    }
    rows(gradients_.query).add_(d_query, of.on_query);
    gradients_.keys[keys.tensor]
        .slice(2, keys.first, keys.last)
        .add_(torch::matmul(d_products.transpose(2, 3), of.query));
  }

  /// In the dtypes of the inputs.
  RowGradients finish() {
    const auto as = [](Tensor& gradient, const Tensor& input) {
      gradient = gradient.to(input.scalar_type());
    };
    as(gradients_.query, arguments_.query);
    for (std::size_t i = 0; i < gradients_.keys.size(); ++i) {
      as(gradients_.keys[i], arguments_.keys[i]);
    }
    for (std::size_t i = 0; i < gradients_.values.size(); ++i) {
      as(gradients_.values[i], arguments_.values[i]);
    }
    if (gradients_.log_weight.defined()) {
      as(gradients_.log_weight, *arguments_.log_weight);
    }
    return gradients_;
  }

 private:
  Tensor zeros(const Tensor& like) const { return torch::zeros(like.sizes(), options_); }

  const RowArguments& arguments_;
  const RowResult& result_;
  const RowResult& gradient_;
  torch::TensorOptions options_;
  bool out_;         // whether the loss reads it
  Tensor constant_;  // d_lse - d_out.out - d_mass top_mass, [batch, heads, rows]
  Tensor d_mass_;    // of top_mass; undefined where the loss does not read it
  RowGradients gradients_;
};

}  // namespace

RowGradients backward(const RowArguments& arguments, const RowResult& result,
                      const RowResult& gradient) {
  Backward pass(arguments, result, gradient);
  for (const auto& span : arguments.sets.spans()) {
    for (const auto& block : row_blocks(span)) {
      const auto log_weight = weights_of(arguments, span, block);
      if (log_weight.defined() && (log_weight == -kInfinity).all().item<bool>()) {
        continue;  // a set that all these rows drop is not read
      }
      for (const auto& keys : key_blocks(arguments, span, block)) {
        pass.add(span, block, log_weight, keys);
      }
    }
  }
  return pass.finish();
}

}  // namespace motet::portable
