#include "kernel/fused/fused.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <utility>
#include <vector>

#include "attention/infinity.h"
#include "attention/merging.h"
#include "kernel/fused/plan.h"

namespace motet::fused {
namespace {

using torch::Tensor;

Tensor filled(at::DimVector sizes, float value, const torch::TensorOptions& options) {
  auto x = at::empty(sizes, options);
  std::fill_n(x.data_ptr<float>(), x.numel(), value);
  return x;
}

/// Results of rows without keys, which units write over; of each part of the keys, where they are
/// split: [parts, ...] of what RowResult has.
RowResult results_for(const RowArguments& arguments, std::optional<int64_t> parts) {
  const auto& query = arguments.query;
  const auto batch = query.size(0), heads = query.size(1), rows = query.size(2);
  const auto options = query.options().dtype(torch::kFloat32);
  const auto shape = [&](at::DimVector sizes) {
    if (parts) {
      sizes.insert(sizes.begin(), *parts);
    }
    return sizes;
  };
  const auto of_rows = shape({batch, heads, rows});
  const auto of_sets = shape({batch, heads, rows, arguments.sets.sets()});
  RowResult result;
  result.lse = filled(of_rows, -kInfinity, options);
  result.set_lse = filled(of_sets, -kInfinity, options);
  if (arguments.entropy) {
    result.entropy = filled(of_rows, 0, options);
    result.set_entropy = filled(of_sets, 0, options);
  }
  if (arguments.top > 0) {
    auto sizes = of_sets;
    sizes.push_back(arguments.top);
    result.set_top = filled(sizes, -kInfinity, options);
  }
  if (arguments.budget.defined()) {
    result.top_mass = filled(of_rows, 1, options);
    result.top_threshold = filled(of_rows, -kInfinity, options);
  }
  if (!arguments.values.empty()) {
    // Rows of all heads of a token side by side, as the next product wants them.
    const auto sizes = shape({batch, rows, heads, arguments.values[0].size(3)});
    result.out = (parts ? filled(sizes, 0, options)  // of parts that a row does not see
                        : at::empty(sizes, query.options()))
                     .transpose(-3, -2);
  }
  return result;
}

/// The job of all rows, or of one part of the keys where they are split.
Job job_for(const RowArguments& arguments, const RowResult& result, std::optional<int64_t> part) {
  const auto& query = arguments.query;
  const auto of_part = [&](const Tensor& x) {
    return x.defined() ? data_of(x) + part.value_or(0) * x.stride(0) : nullptr;
  };
  Job job{.element = element_of(query),
          .heads = query.size(1),
          .rows = query.size(2),
          .sets = arguments.sets.sets(),
          .features = query.size(3),
          .scale = arguments.scale,
          .top = arguments.top,
          .query = view_of(query)};
  job.lse = of_part(result.lse);
  job.entropy = of_part(result.entropy);
  job.set_lse = of_part(result.set_lse);
  job.set_entropy = of_part(result.set_entropy);
  job.set_top = of_part(result.set_top);
  if (arguments.budget.defined()) {
    job.budget = arguments.budget.const_data_ptr<int64_t>();
    job.counts_first = arguments.counts_first;
    job.top_mass = data_of(result.top_mass);
    job.top_threshold = data_of(result.top_threshold);
  }
  if (const auto& out = result.out; out.defined()) {
    job.value_features = out.size(-1);
    job.out = part ? of_part(out) : out.mutable_data_ptr();
    job.out_element = element_of(out);
    job.out_batch = out.stride(-4);
    job.out_head = out.stride(-3);
    job.out_row = out.stride(-2);
  }
  return job;
}

/// One row of `out`, [batch, heads, rows, features], from those of the parts. A part that the row
/// does not see has out 0.
void add_parts(const Tensor& parts, const std::vector<double>& weights, int64_t row,
               const Tensor& out) {
  const auto heads = out.size(1), rows = out.size(2), features = out.size(3);
  const auto batch = row / rows / heads, head = row / rows % heads;
  const auto place = [&](const Tensor& x, int64_t first) {
    return batch * x.stride(first) + head * x.stride(first + 1) + row % rows * x.stride(first + 2);
  };
  std::vector<double> sum(features);
  for (std::size_t part = 0; part < weights.size(); ++part) {
    const auto* from = parts.const_data_ptr<float>() + part * parts.stride(0) + place(parts, 1);
    for (int64_t f = 0; f < features; ++f) {
      sum[f] += weights[part] * from[f];
    }
  }
  const auto write = [&](auto* to) {
    for (int64_t f = 0; f < features; ++f) {
      to[place(out, 0) + f] = static_cast<float>(sum[f]);
    }
  };
  if (out.scalar_type() == torch::kFloat32) {
    write(out.data_ptr<float>());
  } else {
    write(out.data_ptr<at::BFloat16>());
  }
}

/// The row over all parts of the keys, each of which has a result: [parts, ...].
RowResult merge_parts(const RowArguments& arguments, const RowResult& parts) {
  const auto count = parts.lse.size(0), rows = parts.lse.stride(0), sets = arguments.sets.sets();
  auto result = results_for(arguments, {});
  std::vector<double> weights(count);
  const auto merge = [&](const Tensor& lses, const Tensor& entropies, const Tensor& lse,
                         const Tensor& entropy, int64_t index) {
    const auto* of_parts =
        entropies.defined() ? entropies.const_data_ptr<float>() + index : nullptr;
    const MergedRow merged(lses.const_data_ptr<float>() + index, of_parts, lses.stride(0),
                           weights.data(), count);
    lse.data_ptr<float>()[index] = merged.lse;
    if (entropy.defined()) {
      entropy.data_ptr<float>()[index] = merged.entropy;
    }
  };
  for (int64_t row = 0; row < rows; ++row) {
    for (auto set = row * sets; set < (row + 1) * sets; ++set) {
      merge(parts.set_lse, parts.set_entropy, result.set_lse, result.set_entropy, set);
    }
    merge(parts.lse, parts.entropy, result.lse, result.entropy, row);
    if (result.out.defined()) {
      add_parts(parts.out, weights, row, result.out);
    }
  }
  if (result.set_top.defined()) {
    const auto all = parts.set_top.movedim(0, -2).flatten(-2);
    result.set_top = std::get<0>(all.topk(arguments.top, -1));
  }
  return result;
}

/// Leaves out the spans that all rows of a unit drop, so that they are neither walked over nor
/// split. `log_weight` is [batch, heads, rows, sets].
void leave_out_dropped(std::vector<Unit>& units, const RowArguments& arguments,
                       const Tensor& log_weight) {
  const auto heads = arguments.query.size(1), rows = arguments.query.size(2);
  const auto sets = arguments.sets.sets();
  const auto* weights = log_weight.const_data_ptr<float>();
  for (auto& unit : units) {
    const auto dropped = [&](const UnitSpan& span) {
      for (auto batch = unit.first_batch; batch < unit.first_batch + unit.batches; ++batch) {
        for (auto head = unit.first_head; head < unit.first_head + unit.heads; ++head) {
          for (auto row = unit.first_row; row < unit.first_row + unit.rows; ++row) {
            if (weights[((batch * heads + head) * rows + row) * sets + span.set] != -kInfinity) {
              return false;
            }
          }
        }
      }
      return true;
    };
    std::erase_if(unit.spans, dropped);
    unit.cost = 0;
    for (const auto& span : unit.spans) {
      unit.cost += static_cast<double>(span.seen_by_first * unit.rows);
    }
  }
}

/// Whether a matrix engine multiplies for these. Where a threshold parts keys, every pass adds up
/// their scores in the same order: the one with a budget, which finds it, and the next one and the
/// backward pass, which are given it.
bool takes_engine(const RowArguments& arguments) {
  return element_of(arguments.query) == Element::kBFloat16 && !arguments.threshold &&
         !arguments.budget.defined();
}

bool computes(const RowArguments& arguments) {
  const auto type = arguments.query.scalar_type();
  return arguments.query.is_cpu() && (type == torch::kFloat32 || type == torch::kBFloat16) &&
         !arguments.cap && !arguments.sets.hides_first_keys();
}

/// Not where there are so few rows that their keys are split into parts, none of which sees all
/// sets.
bool chooses(const RowArguments& arguments) { return !are_few(arguments); }

RowResult forward(const RowArguments& arguments, InstructionSet set,
                  const MatrixEngine* kernels_engine) {
  const auto* engine = takes_engine(arguments) ? kernels_engine : nullptr;
  const auto keys = with_dense_features(arguments.keys);
  const auto values = with_dense_features(arguments.values);
  const auto floats = [](const std::optional<Tensor>& x) {
    return x ? x->to(torch::kFloat32).contiguous() : Tensor();
  };
  const auto log_weight = floats(arguments.log_weight), threshold = floats(arguments.threshold);
  const auto lanes = engine != nullptr ? lanes_for_engine(arguments) : kUnitLanes;
  auto units = units_of(arguments, keys, values, lanes);
  if (log_weight.defined()) {
    leave_out_dropped(units, arguments, log_weight);
  }
  int64_t parts = 1;
  // No part of the keys knows which are the largest of all.
  if (are_few(arguments) && !arguments.budget.defined()) {
    TORCH_INTERNAL_ASSERT(!arguments.choice.wanted(), "no part of the keys sees all sets");
    std::vector<Unit> smaller;
    const auto keys_of_part = part_keys(units);
    for (const auto& unit : units) {
      auto of_unit = split(unit, keys_of_part, arguments.query.element_size());
      parts = std::max(parts, static_cast<int64_t>(of_unit.size()));
      std::move(of_unit.begin(), of_unit.end(), std::back_inserter(smaller));
    }
    if (parts > 1) {
      units = std::move(smaller);
    }
  }
  // The longest first, so that threads end together.
  std::stable_sort(units.begin(), units.end(),
                   [](const Unit& a, const Unit& b) { return a.cost > b.cost; });

  auto result = results_for(arguments, parts > 1 ? std::optional(parts) : std::nullopt);
  if (arguments.choice.wanted()) {
    result.log_weight = torch::zeros_like(result.set_lse);
  }
  std::vector<Job> jobs;
  for (int64_t part = 0; part < parts; ++part) {
    auto job = job_for(arguments, result, parts > 1 ? std::optional(part) : std::nullopt);
    job.log_weight = data_of(log_weight);
    job.threshold = data_of(threshold);
    job.choice = arguments.choice;
    job.engine = engine;
    job.chosen = data_of(result.log_weight);
    jobs.push_back(job);
  }
  const auto run = run_unit(set);
  std::atomic<std::size_t> next{0};
  const auto threads = std::min<int64_t>(at::get_num_threads(), static_cast<int64_t>(units.size()));
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (auto i = next++; i < units.size(); i = next++) {
      run(jobs[units[i].part], units[i]);
    }
  });
  return parts > 1 ? merge_parts(arguments, result) : result;
}

}  // namespace

Kernel kernel(std::string_view name, InstructionSet set, const MatrixEngine* engine) {
  return {
      .name = name,
      .supported = has(set),
      .instructions = set,
      .computes = computes,
      .chooses = chooses,
      .forward = [=](const RowArguments& arguments) { return forward(arguments, set, engine); },
      .backward =
          [=](const RowArguments& arguments, const RowResult& result, const RowResult& gradient) {
            return backward(arguments, result, gradient, set);
          }};
}

}  // namespace motet::fused
