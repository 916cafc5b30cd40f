#include <ATen/ATen.h>

#include <algorithm>

#include "attention/infinity.h"
#include "attention/merging.h"
#include "kernel/portable/blocks.h"
#include "kernel/portable/portable.h"

namespace motet::portable {
namespace {

using torch::Tensor;

/// A row over some of its keys; [batch, heads, rows(, features or r)]. Its lse is reference +
/// log_sum: apart, since a large score would swallow the sum. A part without keys has a log_sum of
/// -inf and any reference.
struct Part {
  Tensor reference, log_sum, entropy, out, top;
};

Tensor largest(const Tensor& scores, int64_t count) {
  const auto found = std::min(count, scores.size(-1));
  const auto top = std::get<0>(scores.topk(found, -1));
  return found == count ? top : at::constant_pad_nd(top, {0, count - found}, -kInfinity);
}

/// into := the row over the keys of both.
void merge_into(Part& into, const Part& part) {
  if (!into.reference.defined()) {
    into = part;
    return;
  }
  const auto counted = [](const Part& one) {  // what has no keys does not count
    return one.reference.masked_fill(one.log_sum == -kInfinity, -kInfinity);
  };
  const auto reference = finite(torch::maximum(counted(into), counted(part)));
  const auto above = [&](const Part& one) { return one.log_sum + (one.reference - reference); };
  const Shares shares({above(into), above(part)});
  if (part.entropy.defined()) {
    into.entropy = shares.entropy({into.entropy, part.entropy});
  }
  if (part.out.defined()) {
    into.out = shares.out({into.out, part.out});
  }
  if (part.top.defined()) {
    into.top = largest(torch::cat({into.top, part.top}, -1), part.top.size(-1));
  }
  into.reference = reference;
  into.log_sum = shares.lse;
}

/// One block: with c the largest score of a row, sum e^(s-c), sum e^(s-c) (s-c) and sum e^(s-c) v.
Part part_of(const RowArguments& arguments, const Span& span, const RowBlock& rows,
             const KeyBlock& block) {
  const auto of = scores_of(arguments, span, rows, block);
  auto scores = of.scores;  // [key batch, kv_heads, rows, keys]
  if (of.dropped.defined()) {
    scores.masked_fill_(of.dropped, -kInfinity);
  }
  Part part;
  if (arguments.top > 0) {
    part.top = largest(scores, arguments.top);
  }
  const auto largest_score = finite(scores.amax(-1, true));
  scores.sub_(largest_score);
  const auto weights = scores.exp();
  const auto sum = weights.sum(-1);
  part.reference = largest_score.squeeze(-1);
  part.log_sum = sum.log();
  if (arguments.entropy) {
    if (of.dropped.defined()) {
      scores.masked_fill_(of.dropped, 0);  // 0 * -inf is NaN
    }
    part.entropy = (part.log_sum - scores.mul_(weights).sum(-1) / sum).masked_fill_(sum == 0, 0);
  }
  if (!arguments.values.empty()) {
    const auto values = arguments.values[block.tensor]
                            .slice(2, block.first, block.last)
                            .to(accumulator(arguments.query));
    part.out = torch::matmul(weights, values)
                   .div_(sum.unsqueeze(-1).masked_fill(sum.unsqueeze(-1) == 0, 1));
  }
  const auto unfolded = [&](const Tensor& x) {
    return x.defined() ? of.fold.unfold(x, rows.last - rows.first) : x;
  };
  return {unfolded(part.reference), unfolded(part.log_sum), unfolded(part.entropy),
          unfolded(part.out), unfolded(part.top)};
}

/// The effective scores of some rows over all keys, [batch, heads, rows, keys]; -inf for what does
/// not count.
Tensor effective_scores(const RowArguments& arguments, int64_t first, int64_t last) {
  const auto& query = arguments.query;
  auto all = torch::full({query.size(0), query.size(1), last - first, arguments.sets.keys()},
                         -kInfinity, query.options().dtype(accumulator(query)));
  for (const auto& span : arguments.sets.spans()) {
    const auto from = std::max(first, span.first_row);
    const auto to = std::min(last, span.first_row + span.rows);
    if (from >= to) {
      continue;
    }
    const auto rows = row_block(span, from, to);
    const auto log_weight = weights_of(arguments, span, rows);
    for (const auto& keys : key_blocks(arguments, span, rows)) {
      const auto of = scores_of(arguments, span, rows, keys);
      auto scores = of.scores;
      if (of.dropped.defined()) {
        scores.masked_fill_(of.dropped, -kInfinity);
      }
      scores = of.fold.unfold(scores, to - from);
      if (log_weight.defined()) {
        scores = (scores + log_weight.unsqueeze(-1))
                     .masked_fill_((log_weight == -kInfinity).unsqueeze(-1), -kInfinity);
      }
      all.slice(2, from - first, to - first)
          .slice(3, keys.first_of_all, keys.first_of_all + keys.last - keys.first)
          .copy_(scores);
    }
  }
  return all;
}

/// The mass of each row's largest keys and the threshold that parts them from the rest, a few rows
/// at a time.
void find_largest(const RowArguments& arguments, RowResult& result) {
  const auto& query = arguments.query;
  result.top_mass = torch::ones_like(result.lse);
  result.top_threshold = torch::full_like(result.lse, -kInfinity);
  const auto rows = query.size(2), keys = arguments.sets.keys();
  const auto of_row = std::max<int64_t>(1, query.size(0) * query.size(1) * keys);
  const auto step = std::max<int64_t>(1, kBlockScores / of_row);
  for (int64_t first = 0; first < rows; first += step) {
    const auto last = std::min(rows, first + step);
    const auto budget = arguments.budget.slice(2, first, last);
    const auto most = budget.max().item<int64_t>();
    if (most == 0) {
      continue;  // these rows see no more than their budgets
    }
    const auto scores = effective_scores(arguments, first, last);
    auto counted = scores;
    if (!arguments.counts_first) {
      counted = scores.clone();
      counted.select(3, 0).fill_(-kInfinity);
    }
    const auto largest = std::get<0>(counted.topk(most, -1));
    const auto least = largest.gather(-1, (budget - 1).clamp_min(0).unsqueeze(-1));  // of T
    const auto outside = counted.masked_fill(counted >= least, -kInfinity).amax(-1);
    auto inside = counted >= least;
    if (!arguments.counts_first) {
      inside.select(3, 0).fill_(true);
    }
    const auto lse = finite(result.lse.slice(2, first, last)).unsqueeze(-1);
    const auto mass = (scores - lse).exp().masked_fill(inside.logical_not(), 0).sum(-1);
    const auto all = (budget == 0).logical_or_(outside == -kInfinity);
    result.top_mass.slice(2, first, last).copy_(mass.clamp_max(1).masked_fill(all, 1));
    result.top_threshold.slice(2, first, last)
        .copy_(((least.squeeze(-1) + outside) / 2).masked_fill(all, -kInfinity));
  }
}

}  // namespace

RowResult forward(const RowArguments& arguments) {
  const auto& query = arguments.query;
  const auto options = query.options().dtype(accumulator(query));
  const auto batch = query.size(0), heads = query.size(1), rows = query.size(2);
  const auto sets = arguments.sets.sets();
  RowResult result;
  auto row_reference = torch::zeros({batch, heads, rows}, options);
  auto row_log_sum = torch::full({batch, heads, rows}, -kInfinity, options);
  auto set_reference = torch::zeros({batch, heads, rows, sets}, options);
  auto set_log_sum = torch::full({batch, heads, rows, sets}, -kInfinity, options);
  if (arguments.entropy) {
    result.entropy = torch::zeros({batch, heads, rows}, options);
    result.set_entropy = torch::zeros({batch, heads, rows, sets}, options);
  }
  if (!arguments.values.empty()) {
    result.out = torch::zeros({batch, heads, rows, arguments.values[0].size(3)}, options);
  }
  if (arguments.top > 0) {
    result.set_top = torch::full({batch, heads, rows, sets, arguments.top}, -kInfinity, options);
  }
  for (const auto& span : arguments.sets.spans()) {
    for (const auto& block : row_blocks(span)) {
      const auto log_weight = weights_of(arguments, span, block);
      Tensor dropped_rows;
      if (log_weight.defined()) {
        dropped_rows = log_weight == -kInfinity;
        if (dropped_rows.all().item<bool>()) {
          continue;  // a set that all these rows drop is not read
        }
      }
      Part seen;
      for (const auto& keys : key_blocks(arguments, span, block)) {
        merge_into(seen, part_of(arguments, span, block, keys));
      }
      if (dropped_rows.defined()) {
        seen.reference = (seen.reference + log_weight).masked_fill_(dropped_rows, 0);
        seen.log_sum = seen.log_sum.masked_fill(dropped_rows, -kInfinity);
        if (seen.entropy.defined()) {
          seen.entropy = seen.entropy.masked_fill(dropped_rows, 0);
        }
        if (seen.out.defined()) {
          seen.out = seen.out.masked_fill(dropped_rows.unsqueeze(-1), 0);
        }
        if (seen.top.defined()) {
          seen.top = seen.top.masked_fill(dropped_rows.unsqueeze(-1), -kInfinity);
        }
      }
      const auto here = [&](const Tensor& of) {
        return of.defined() ? of.slice(2, block.first, block.last) : of;
      };
      const auto join = [&](const Part& into, const Part& from) {
        Part joined = into;
        merge_into(joined, from);
        into.reference.copy_(joined.reference);
        into.log_sum.copy_(joined.log_sum);
        if (into.entropy.defined()) {
          into.entropy.copy_(joined.entropy);
        }
        if (into.out.defined()) {
          into.out.copy_(joined.out);
        }
        if (into.top.defined()) {
          into.top.copy_(joined.top);
        }
      };
      join({here(row_reference), here(row_log_sum), here(result.entropy), here(result.out), {}},
           {seen.reference, seen.log_sum, seen.entropy, seen.out, {}});
      const auto of_set = [&](const Tensor& of) {
        return of.defined() ? here(of).select(3, span.set) : of;
      };
      join({of_set(set_reference),
            of_set(set_log_sum),
            of_set(result.set_entropy),
            {},
            of_set(result.set_top)},
           {seen.reference, seen.log_sum, seen.entropy, {}, seen.top});
    }
  }
  result.lse = row_reference + row_log_sum;
  result.set_lse = set_reference + set_log_sum;
  if (arguments.entropy) {  // a merge may round a sum of zeros to just below zero
    result.entropy.clamp_min_(0);
    result.set_entropy.clamp_min_(0);
  }
  if (result.out.defined()) {
    result.out = result.out.to(query.scalar_type());
  }
  if (arguments.budget.defined()) {
    find_largest(arguments, result);
  }
  return result;
}

}  // namespace motet::portable
