#include "kernel/portable.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "attention/infinity.h"
#include "kernel/checked.h"

namespace motet::portable {
namespace {

using torch::Tensor;

constexpr int64_t kBlockRows = 128;
constexpr int64_t kBlockKeys = 256;        // at least; as many as kBlockScores allows
constexpr int64_t kBlockScores = 1 << 19;  // scores of all heads in one block: bounds the memory

torch::ScalarType accumulator(const Tensor& tensor) {
  return tensor.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

/// Some rows of one span, [first, last) of all rows, and the keys that the last of them sees.
struct RowBlock {
  int64_t first, last;
  int64_t keys;  // of the span, from its first
};

/// Some keys of a span, [first, last) of the tensor that holds them.
struct KeyBlock {
  const Tensor* keys;
  const Tensor* values;  // null where no out is wanted
  int64_t index;         // which tensor
  int64_t first, last;
  Tensor hidden;  // bool [rows, keys]: true where the row does not see the key; undefined where it
                  // sees all
};

std::vector<RowBlock> row_blocks(const Span& span) {
  std::vector<RowBlock> blocks;
  for (int64_t first = 0; first < span.rows; first += kBlockRows) {
    const auto last = std::min(first + kBlockRows, span.rows);
    blocks.push_back({span.first_row + first, span.first_row + last,
                      span.causal ? span.keys - span.rows + last : span.keys});
  }
  return blocks;
}

/// The keys of `span` that `rows` see. Only the last block of a causal span hides keys, and it is
/// wide enough that each row sees some of it.
std::vector<KeyBlock> key_blocks(const RowArguments& arguments, const Span& span,
                                 const RowBlock& rows) {
  const auto& query = arguments.query;
  const auto count = rows.last - rows.first;
  const auto rows_of_all = std::max<int64_t>(1, query.size(0) * query.size(1) * count);
  const auto step = std::max(kBlockKeys, kBlockScores / rows_of_all);
  int64_t index = 0;
  auto offset = span.first_key;
  while (offset >= arguments.keys[index].size(2)) {
    offset -= arguments.keys[index++].size(2);
  }
  std::vector<KeyBlock> blocks;
  for (int64_t first = 0; first < rows.keys;) {
    const auto rest = rows.keys - first;
    const auto size = rest > step + count ? step : rest;
    blocks.push_back({&arguments.keys[index],
                      arguments.values.empty() ? nullptr : &arguments.values[index], index,
                      offset + first, offset + first + size, Tensor()});
    first += size;
  }
  if (span.causal && count > 1) {
    auto& last = blocks.back();
    const auto keys = last.last - last.first;
    last.hidden = torch::ones({count, keys}, query.options().dtype(torch::kBool))
                      .triu(keys - count + 1);  // the last row sees all
  }
  return blocks;
}

/// Query heads that share keys, folded into rows: [batch, heads, rows, ...] to [key batch,
/// kv_heads, rows of all, ...], so that keys are never copied for each head.
struct Folding {
  int64_t batch, heads, kv_heads;
  bool shared;  // one batch of keys for all queries

  Tensor fold(const Tensor& x) const {
    const auto split = x.unflatten(1, {kv_heads, heads / kv_heads});
    if (!shared) {
      return split.flatten(2, 3);
    }
    return split.transpose(0, 1).flatten(1, 3).unsqueeze(0);
  }

  Tensor unfold(const Tensor& x, int64_t rows) const {
    const auto group = heads / kv_heads;
    if (!shared) {
      return x.unflatten(2, {group, rows}).flatten(1, 2);
    }
    return x.squeeze(0).unflatten(1, {batch, group, rows}).transpose(0, 1).flatten(1, 2);
  }
};

Folding folding(const Tensor& query, const Tensor& keys) {
  return {query.size(0), query.size(1), keys.size(1), keys.size(0) != query.size(0)};
}

/// Which scores of a block do not count, [all rows, keys] as folded: hidden by the span, or below
/// the row's threshold (for scores to which the log weight is still to be added).
Tensor dropped(const Tensor& scores, const KeyBlock& block, const Tensor& threshold) {
  Tensor mask;
  if (block.hidden.defined()) {
    const auto repeats = scores.size(2) / block.hidden.size(0);
    mask = block.hidden.repeat({repeats, 1});
  }
  if (threshold.defined()) {
    const auto below = scores < threshold.unsqueeze(-1);
    mask = mask.defined() ? mask.logical_or(below) : below;
  }
  return mask;
}

/// A row over some of its keys; [batch, heads, rows(, features or r)].
struct Part {
  Tensor lse, entropy, out, top;
};

Tensor largest(const Tensor& scores, int64_t count) {
  const auto found = std::min(count, scores.size(-1));
  const auto top = std::get<0>(scores.topk(found, -1));
  return found == count ? top : at::constant_pad_nd(top, {0, count - found}, -kInfinity);
}

/// into := the row over the keys of both (docs/rows.md).
void merge_into(Part& into, const Part& part) {
  if (!into.lse.defined()) {
    into = part;
    return;
  }
  const auto lse = torch::logaddexp(into.lse, part.lse);
  const auto total = finite(lse);
  const auto a = (into.lse - total).exp_(), b = (part.lse - total).exp_();
  if (part.entropy.defined()) {
    into.entropy = a * into.entropy + b * part.entropy - torch::xlogy(a, a) - torch::xlogy(b, b);
  }
  if (part.out.defined()) {
    into.out = a.unsqueeze(-1) * into.out + b.unsqueeze(-1) * part.out;
  }
  if (part.top.defined()) {
    into.top = largest(torch::cat({into.top, part.top}, -1), part.top.size(-1));
  }
  into.lse = lse;
}

/// One block: with c the largest score of a row, sum e^(s-c), sum e^(s-c) (s-c) and sum e^(s-c) v.
Part part(const RowArguments& arguments, const Tensor& query, const Tensor& threshold,
          const KeyBlock& block) {
  const auto keys = block.keys->slice(2, block.first, block.last).to(query.scalar_type());
  auto scores = torch::matmul(query, keys.transpose(2, 3));  // [key batch, kv_heads, rows, keys]
  const auto mask = dropped(scores, block, threshold);
  if (mask.defined()) {
    scores.masked_fill_(mask, -kInfinity);
  }
  Part part;
  if (arguments.top > 0) {
    part.top = largest(scores, arguments.top);
  }
  const auto largest_score = finite(scores.amax(-1, true));
  scores.sub_(largest_score);
  const auto weights = scores.exp();
  const auto sum = weights.sum(-1);
  part.lse = sum.log() + largest_score.squeeze(-1);
  if (arguments.entropy) {
    if (mask.defined()) {
      scores.masked_fill_(mask, 0);  // 0 * -inf is NaN
    }
    part.entropy = (sum.log() - scores.mul_(weights).sum(-1) / sum).masked_fill_(sum == 0, 0);
  }
  if (block.values != nullptr) {
    const auto values = block.values->slice(2, block.first, block.last).to(query.scalar_type());
    part.out = torch::matmul(weights, values)
                   .div_(sum.unsqueeze(-1).masked_fill(sum.unsqueeze(-1) == 0, 1));
  }
  return part;
}

Tensor unfolded(const Tensor& x, const Folding& folding, int64_t rows) {
  return x.defined() ? folding.unfold(x, rows) : x;
}

/// The log weights of a span's set for some rows, [batch, heads, rows]; undefined where there are
/// none.
Tensor weights_of(const RowArguments& arguments, const Span& span, const RowBlock& rows) {
  return arguments.log_weight
             ? arguments.log_weight->select(3, span.set).slice(2, rows.first, rows.last)
             : Tensor();
}

/// The query rows of a block as folded, multiplied by the scale and the factor of their set.
Tensor scaled_query(const RowArguments& arguments, const Span& span, const RowBlock& rows,
                    const Folding& fold) {
  const auto& query = arguments.query;
  return fold.fold(query.slice(2, rows.first, rows.last)).to(accumulator(query)) *
         (arguments.scale * arguments.sets.factor(span.set));
}

/// On the scores of a span's set before its log weights are added.
Tensor thresholds(const RowArguments& arguments, const Span& span, const RowBlock& rows,
                  const Folding& fold) {
  if (!arguments.threshold) {
    return {};
  }
  const auto threshold = arguments.threshold->slice(2, rows.first, rows.last);
  const auto log_weight = weights_of(arguments, span, rows);
  return fold.fold(log_weight.defined() ? threshold - log_weight : threshold);
}

/// The effective scores of some rows over all keys, [batch, heads, rows, keys]; -inf for what does
/// not count.
Tensor effective_scores(const RowArguments& arguments, int64_t first, int64_t last) {
  const auto& query = arguments.query;
  const auto options = query.options().dtype(accumulator(query));
  auto all = torch::full({query.size(0), query.size(1), last - first, arguments.sets.keys()},
                         -kInfinity, options);
  for (const auto& span : arguments.sets.spans()) {
    const RowBlock rows{std::max(first, span.first_row), std::min(last, span.first_row + span.rows),
                        0};
    if (rows.first >= rows.last) {
      continue;
    }
    Span some = span;  // only these rows of it
    some.first_row = rows.first;
    some.rows = rows.last - rows.first;
    some.keys -= span.causal ? span.first_row + span.rows - rows.last : 0;
    const auto log_weight = weights_of(arguments, span, rows);
    auto key_of_all = span.first_key;
    for (const auto& keys : key_blocks(arguments, some, {rows.first, rows.last, some.keys})) {
      const auto fold = folding(query, *keys.keys);
      const auto key = keys.keys->slice(2, keys.first, keys.last).to(options.dtype());
      auto scores = torch::matmul(scaled_query(arguments, span, rows, fold), key.transpose(2, 3));
      const auto mask = dropped(scores, keys, thresholds(arguments, span, rows, fold));
      if (mask.defined()) {
        scores.masked_fill_(mask, -kInfinity);
      }
      scores = fold.unfold(scores, some.rows);
      if (log_weight.defined()) {
        scores = (scores + log_weight.unsqueeze(-1))
                     .masked_fill_((log_weight == -kInfinity).unsqueeze(-1), -kInfinity);
      }
      const auto next = key_of_all + keys.last - keys.first;
      all.slice(2, rows.first - first, rows.last - first).slice(3, key_of_all, next).copy_(scores);
      key_of_all = next;
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
  result.lse = torch::full({batch, heads, rows}, -kInfinity, options);
  result.set_lse = torch::full({batch, heads, rows, sets}, -kInfinity, options);
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
      const auto count = block.last - block.first;
      Part seen;
      for (const auto& keys : key_blocks(arguments, span, block)) {
        const auto fold = folding(query, *keys.keys);
        auto found = part(arguments, scaled_query(arguments, span, block, fold),
                          thresholds(arguments, span, block, fold), keys);
        merge_into(seen, {unfolded(found.lse, fold, count), unfolded(found.entropy, fold, count),
                          unfolded(found.out, fold, count), unfolded(found.top, fold, count)});
      }
      if (dropped_rows.defined()) {
        seen.lse = (seen.lse + log_weight).masked_fill_(dropped_rows, -kInfinity);
        if (seen.entropy.defined()) {
          seen.entropy = seen.entropy.masked_fill(dropped_rows, 0);
        }
        if (seen.out.defined()) {
          seen.out = seen.out.masked_fill(dropped_rows.unsqueeze(-1), 0);
        }
      }
      const auto here = [&](const Tensor& of) {
        return of.defined() ? of.slice(2, block.first, block.last) : of;
      };
      const auto join = [&](const Part& into, const Part& from) {
        Part joined = into;
        merge_into(joined, from);
        into.lse.copy_(joined.lse);
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
      join({here(result.lse), here(result.entropy), here(result.out), Tensor()},
           {seen.lse, seen.entropy, seen.out, Tensor()});
      const auto of_set = [&](const Tensor& of) {
        return of.defined() ? here(of).select(3, span.set) : of;
      };
      join({of_set(result.set_lse), of_set(result.set_entropy), Tensor(), of_set(result.set_top)},
           {seen.lse, seen.entropy, Tensor(), seen.top});
    }
  }
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

RowGradients backward(const RowArguments& arguments, const RowResult& result,
                      const RowResult& gradient) {
  const auto& query = arguments.query;
  const auto options = query.options().dtype(accumulator(query));
  const auto zeros = [&](const Tensor& like) { return torch::zeros(like.sizes(), options); };
  RowGradients gradients;
  gradients.query = zeros(query);
  for (const auto& keys : arguments.keys) {
    gradients.keys.push_back(zeros(keys));
  }
  for (const auto& values : arguments.values) {
    gradients.values.push_back(zeros(values));
  }
  if (arguments.log_weight) {
    gradients.log_weight = zeros(*arguments.log_weight);
  }
  // ds_j = p_j [dout.v_j - dout.out + dlse - dH (ln p_j + H) + dm (1[j in T] - m)] and the same but
  // for the last inside the set (docs/sparsity.md)
  const bool out = gradient.out.defined() && result.out.defined();
  Tensor constant = gradient.lse.defined() ? gradient.lse.to(options.dtype()) : zeros(result.lse);
  if (out) {
    constant =
        constant - (gradient.out.to(options.dtype()) * result.out.to(options.dtype())).sum(-1);
  }
  Tensor d_mass;
  if (gradient.top_mass.defined()) {  // constant where T is all that a row sees
    d_mass = gradient.top_mass.masked_fill(result.top_threshold == -kInfinity, 0);
    constant = constant - d_mass * result.top_mass;
  }
  for (const auto& span : arguments.sets.spans()) {
    for (const auto& block : row_blocks(span)) {
      const auto log_weight = weights_of(arguments, span, block);
      Tensor dropped_rows;
      if (log_weight.defined()) {
        dropped_rows = log_weight == -kInfinity;
        if (dropped_rows.all().item<bool>()) {
          continue;
        }
      }
      const auto count = block.last - block.first;
      const auto rows = [&](const Tensor& of) { return of.slice(2, block.first, block.last); };
      const auto of_set = [&](const Tensor& of) { return rows(of).select(3, span.set); };
      bool first_key = span.first_key == 0;  // whether the next block begins with key 0
      for (const auto& keys : key_blocks(arguments, span, block)) {
        const auto fold = folding(query, *keys.keys);
        const auto folded = [&](const Tensor& x) {
          return fold.fold(x).to(options.dtype()).unsqueeze(-1);
        };
        const auto scaled = scaled_query(arguments, span, block, fold);
        const auto key = keys.keys->slice(2, keys.first, keys.last).to(options.dtype());
        auto scores = torch::matmul(scaled, key.transpose(2, 3));
        auto mask = dropped(scores, keys, thresholds(arguments, span, block, fold));
        if (log_weight.defined()) {
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
        const auto log_p = scores - folded(finite(rows(result.lse)));
        const auto p = probability_of(log_p);
        Tensor inner = folded(rows(constant)).expand_as(p);
        if (out) {
          const auto d_out = fold.fold(rows(gradient.out)).to(options.dtype());
          const auto value = keys.values->slice(2, keys.first, keys.last).to(options.dtype());
          inner = inner + torch::matmul(d_out, value.transpose(2, 3));
          gradients.values[keys.index]
              .slice(2, keys.first, keys.last)
              .add_(torch::matmul(p.transpose(2, 3), d_out));
        }
        if (gradient.entropy.defined()) {
          inner = inner - folded(rows(gradient.entropy)) * (log_p + folded(rows(result.entropy)));
        }
        if (d_mass.defined()) {
          auto inside = scores >= folded(rows(result.top_threshold));
          if (first_key && !arguments.counts_first) {
            inside.select(3, 0).fill_(true);
          }
          inner = inner + folded(rows(d_mass)) * inside;
        }
        first_key = false;
        auto d_scores = p * inner;
        if (gradient.set_lse.defined() || gradient.set_entropy.defined()) {
          const auto log_p_set = scores - folded(finite(of_set(result.set_lse)));
          Tensor inner_set = torch::zeros_like(log_p_set);
          if (gradient.set_lse.defined()) {
            inner_set = inner_set + folded(of_set(gradient.set_lse));
          }
          if (gradient.set_entropy.defined()) {
            inner_set = inner_set - folded(of_set(gradient.set_entropy)) *
                                        (log_p_set + folded(of_set(result.set_entropy)));
          }
          d_scores = d_scores + probability_of(log_p_set) * inner_set;
        }
        if (mask.defined()) {
          d_scores.masked_fill_(mask, 0);  // 0 * NaN, where a dropped key or its value is NaN
        }
        if (log_weight.defined()) {
          of_set(gradients.log_weight).add_(fold.unfold(d_scores.sum(-1), count));
        }
        const auto factor = arguments.scale * arguments.sets.factor(span.set);
        rows(gradients.query).add_(fold.unfold(torch::matmul(d_scores, key), count), factor);
        gradients.keys[keys.index]
            .slice(2, keys.first, keys.last)
            .add_(torch::matmul(d_scores.transpose(2, 3), scaled));
      }
    }
  }
  gradients.query = gradients.query.to(query.scalar_type());
  for (std::size_t i = 0; i < gradients.keys.size(); ++i) {
    gradients.keys[i] = gradients.keys[i].to(arguments.keys[i].scalar_type());
  }
  for (std::size_t i = 0; i < gradients.values.size(); ++i) {
    gradients.values[i] = gradients.values[i].to(arguments.values[i].scalar_type());
  }
  if (gradients.log_weight.defined()) {
    gradients.log_weight = gradients.log_weight.to(arguments.log_weight->scalar_type());
  }
  return gradients;
}

}  // namespace motet::portable
