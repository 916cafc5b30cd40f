#include "attention/fused.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <limits>
#include <utility>

namespace motet::fused {
namespace {

using torch::Tensor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
// Where there are fewer units than this, keys are split into parts, so that all threads work: the
// same parts for any number of threads.
constexpr std::size_t kFewUnits = 16;
constexpr int64_t kPartKeys = 512;

View view_of(const Tensor& x) {
  return {x.const_data_ptr(), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

/// Rows that see the same spans, [first, last).
struct Segment {
  int64_t first, last;
  std::vector<const Span*> spans;  // in the order of their sets
};

std::vector<Segment> segments_of(const KeySets& sets) {
  std::vector<int64_t> edges{0, sets.rows()};
  for (const auto& span : sets.spans()) {
    edges.push_back(span.first_row);
    edges.push_back(span.first_row + span.rows);
  }
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  std::vector<Segment> segments;
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) {
    Segment segment{edges[i], edges[i + 1], {}};
    for (const auto& span : sets.spans()) {
      if (span.first_row <= segment.first && segment.last <= span.first_row + span.rows) {
        segment.spans.push_back(&span);
      }
    }
    std::stable_sort(segment.spans.begin(), segment.spans.end(),
                     [](const Span* a, const Span* b) { return a->set < b->set; });
    segments.push_back(std::move(segment));
  }
  return segments;
}

/// Elements of a head from a row on, in a list of tensors that is read as if laid end to end.
struct Elements {
  const void* data;
  int64_t stride;
};

Elements find(const std::vector<Tensor>& list, int64_t batch, int64_t head, int64_t row) {
  auto tensor = list.begin();
  while (row >= tensor->size(2)) {
    row -= (tensor++)->size(2);
  }
  const auto offset = (tensor->size(0) == 1 ? 0 : batch * tensor->stride(0)) +
                      head * tensor->stride(1) + row * tensor->stride(2);
  return {static_cast<const char*>(tensor->const_data_ptr()) + offset * tensor->element_size(),
          tensor->stride(2)};
}

std::vector<Tensor> with_dense_features(const std::vector<Tensor>& list) {
  std::vector<Tensor> dense;
  for (const auto& tensor : list) {
    dense.push_back(tensor.stride(3) == 1 || tensor.numel() == 0 ? tensor : tensor.contiguous());
  }
  return dense;
}

/// Query heads, of some batches, that read the same keys.
struct HeadGroup {
  int64_t first_batch, batches, first_head, heads, kv_head;
};

std::vector<HeadGroup> groups_of(const RowArguments& arguments) {
  const auto batch = arguments.query.size(0), heads = arguments.query.size(1);
  const auto kv_heads = arguments.keys.empty() ? heads : arguments.keys[0].size(1);
  const auto group = heads / kv_heads;
  const bool shared = std::all_of(arguments.keys.begin(), arguments.keys.end(),
                                  [](const Tensor& tensor) { return tensor.size(0) == 1; });
  const auto together = std::min(group, kUnitLanes);
  const auto batches = shared ? std::clamp<int64_t>(kUnitLanes / together, 1, batch) : 1;
  std::vector<HeadGroup> groups;
  for (int64_t b = 0; b < batch; b += batches) {
    for (int64_t kv = 0; kv < kv_heads; ++kv) {
      for (auto h = kv * group; h < (kv + 1) * group; h += together) {
        groups.push_back(
            {b, std::min(batches, batch - b), h, std::min(together, (kv + 1) * group - h), kv});
      }
    }
  }
  return groups;
}

std::vector<Unit> units_of(const RowArguments& arguments, const std::vector<Tensor>& keys,
                           const std::vector<Tensor>& values) {
  const auto segments = segments_of(arguments.sets);
  std::vector<Unit> units;
  for (const auto& group : groups_of(arguments)) {
    const auto step = std::max<int64_t>(1, kUnitLanes / (group.batches * group.heads));
    for (const auto& segment : segments) {
      std::vector<UnitSpan> spans;
      for (const auto* span : segment.spans) {
        const auto key = find(keys, group.first_batch, group.kv_head, span->first_key);
        const auto value = values.empty()
                               ? Elements{nullptr, 0}
                               : find(values, group.first_batch, group.kv_head, span->first_key);
        spans.push_back({.set = span->set,
                         .factor = arguments.sets.factor(span->set),
                         .count = span->keys,
                         .seen_by_first = span->causal ? span->keys - span->rows + 1 : span->keys,
                         .more_each_row = span->causal ? 1 : 0,
                         .first_key = span->first_key,
                         .keys = key.data,
                         .key_stride = key.stride,
                         .values = value.data,
                         .value_stride = value.stride});
      }
      for (auto first = segment.first; first < segment.last; first += step) {
        Unit unit{.first_row = first,
                  .rows = std::min(step, segment.last - first),
                  .first_batch = group.first_batch,
                  .batches = group.batches,
                  .first_head = group.first_head,
                  .heads = group.heads,
                  .kv_head = group.kv_head,
                  .spans = spans};
        for (std::size_t i = 0; i < spans.size(); ++i) {
          auto& span = unit.spans[i];
          span.seen_by_first += (first - segment.spans[i]->first_row) * span.more_each_row;
          unit.cost += static_cast<double>(span.seen_by_first * unit.rows);
        }
        units.push_back(std::move(unit));
      }
    }
  }
  return units;
}

/// The unit in parts of at most kPartKeys keys.
std::vector<Unit> split(const Unit& unit, int64_t element_size) {
  std::vector<Unit> parts;
  int64_t room = 0;
  for (const auto& span : unit.spans) {
    for (int64_t first = 0; first < span.count;) {
      if (room == 0) {
        parts.push_back(unit);
        parts.back().spans.clear();
        parts.back().part = static_cast<int64_t>(parts.size()) - 1;
        room = kPartKeys;
      }
      auto some = span;
      some.count = std::min(room, span.count - first);
      some.seen_by_first -= first;
      some.first_key += first;
      const auto from = [&](const void* data, int64_t stride) -> const void* {
        return data == nullptr ? data
                               : static_cast<const char*>(data) + first * stride * element_size;
      };
      some.keys = from(span.keys, span.key_stride);
      some.values = from(span.values, span.value_stride);
      parts.back().spans.push_back(some);
      first += some.count;
      room -= some.count;
    }
  }
  for (auto& part : parts) {
    part.cost = unit.cost / static_cast<double>(parts.size());
  }
  return parts;
}

/// Statistics and out of each part of the keys: [parts, ...] of what RowResult has.
RowResult results_for(const RowArguments& arguments, int64_t parts, bool split) {
  const auto& query = arguments.query;
  const auto batch = query.size(0), heads = query.size(1), rows = query.size(2);
  const auto sets = arguments.sets.sets();
  const auto options = query.options().dtype(torch::kFloat32);
  RowResult result;
  result.lse = torch::full({parts, batch, heads, rows}, -kInfinity, options);
  result.set_lse = torch::full({parts, batch, heads, rows, sets}, -kInfinity, options);
  if (arguments.entropy) {
    result.entropy = torch::zeros({parts, batch, heads, rows}, options);
    result.set_entropy = torch::zeros({parts, batch, heads, rows, sets}, options);
  }
  if (arguments.top > 0) {
    result.set_top =
        torch::full({parts, batch, heads, rows, sets, arguments.top}, -kInfinity, options);
  }
  if (!arguments.values.empty()) {
    // Rows of all heads of a token side by side, as the next product wants them.
    const auto type = split ? torch::kFloat32 : query.scalar_type();
    result.out =
        torch::empty({parts, batch, rows, heads, arguments.values[0].size(3)}, options.dtype(type))
            .transpose(2, 3);
    if (split) {
      result.out.zero_();  // of parts that a row does not see
    }
  }
  return result;
}

Element element_of(const Tensor& x) {
  return x.scalar_type() == torch::kFloat32 ? Element::kFloat32 : Element::kBFloat16;
}

float* data_of(const Tensor& x, int64_t part) {
  return x.defined() ? x.data_ptr<float>() + part * x.stride(0) : nullptr;
}

Job job_for(const RowArguments& arguments, const RowResult& parts, int64_t part) {
  const auto& query = arguments.query;
  Job job{.element = element_of(query),
          .heads = query.size(1),
          .rows = query.size(2),
          .sets = arguments.sets.sets(),
          .features = query.size(3),
          .scale = arguments.scale,
          .top = arguments.top,
          .query = view_of(query)};
  job.lse = data_of(parts.lse, part);
  job.entropy = data_of(parts.entropy, part);
  job.set_lse = data_of(parts.set_lse, part);
  job.set_entropy = data_of(parts.set_entropy, part);
  job.set_top = data_of(parts.set_top, part);
  if (parts.out.defined()) {
    const auto out = parts.out.select(0, part);
    job.value_features = out.size(3);
    job.out = out.mutable_data_ptr();
    job.out_element = element_of(out);
    job.out_batch = out.stride(0);
    job.out_head = out.stride(1);
    job.out_row = out.stride(2);
  }
  return job;
}

/// One row, or one set of it, over all parts of the keys (DESIGN section 3, merge).
struct Merged {
  float lse = -kInfinity, entropy = 0;
  std::vector<double> weights;  // of the parts

  Merged(const float* lses, const float* entropies, int64_t stride, int64_t parts)
      : weights(parts) {
    double most = -kInfinity, total = 0, mean = 0;
    for (int64_t i = 0; i < parts; ++i) {
      most = std::max<double>(most, lses[i * stride]);
    }
    if (most == -kInfinity) {
      return;
    }
    for (int64_t i = 0; i < parts; ++i) {
      total += weights[i] = std::exp(lses[i * stride] - most);
    }
    lse = static_cast<float>(most + std::log(total));
    for (int64_t i = 0; i < parts; ++i) {
      weights[i] /= total;
      if (entropies != nullptr && weights[i] > 0) {
        mean += weights[i] * (entropies[i * stride] - std::log(weights[i]));
      }
    }
    entropy = static_cast<float>(std::max(0.0, mean));
  }
};

RowResult merge_parts(const RowArguments& arguments, const RowResult& parts) {
  const auto count = parts.lse.size(0);
  auto result = results_for(arguments, 1, false);
  const auto rows = parts.lse.stride(0);  // of all batches and heads
  const auto sets = arguments.sets.sets();
  const auto merge = [&](const Tensor& lses, const Tensor& entropies, const Tensor& lse,
                         const Tensor& entropy, int64_t index) {
    const auto* part_entropies =
        entropies.defined() ? entropies.const_data_ptr<float>() + index : nullptr;
    const Merged merged(lses.const_data_ptr<float>() + index, part_entropies, lses.stride(0),
                        count);
    lse.data_ptr<float>()[index] = merged.lse;
    if (entropy.defined()) {
      entropy.data_ptr<float>()[index] = merged.entropy;
    }
    return merged.weights;
  };
  auto weights = torch::empty({count, rows}, torch::kFloat64);
  for (int64_t row = 0; row < rows; ++row) {
    const auto of_row = merge(parts.lse, parts.entropy, result.lse, result.entropy, row);
    for (int64_t i = 0; i < count; ++i) {
      weights.data_ptr<double>()[i * rows + row] = of_row[i];
    }
    for (auto set = row * sets; set < (row + 1) * sets; ++set) {
      merge(parts.set_lse, parts.set_entropy, result.set_lse, result.set_entropy, set);
    }
  }
  if (result.out.defined()) {
    const auto shape = parts.lse.sizes();
    const auto weight = weights.to(torch::kFloat32).view(shape).unsqueeze(-1);
    // A part that a row does not see has out 0.
    result.out.copy_((parts.out * weight).sum(0, true));
  }
  if (result.set_top.defined()) {
    const auto all = parts.set_top.movedim(0, -2).flatten(-2);
    result.set_top.copy_(std::get<0>(all.topk(arguments.top, -1)).unsqueeze(0));
  }
  return result;
}

}  // namespace

bool supports(const RowArguments& arguments) {
  const auto type = arguments.query.scalar_type();
  return arguments.query.is_cpu() && (type == torch::kFloat32 || type == torch::kBFloat16);
}

RowResult forward(const RowArguments& arguments, const Variant& variant) {
  const auto keys = with_dense_features(arguments.keys);
  const auto values = with_dense_features(arguments.values);
  auto units = units_of(arguments, keys, values);
  int64_t parts = 1;
  if (units.size() < kFewUnits && arguments.keep == 0) {
    std::vector<Unit> smaller;
    for (const auto& unit : units) {
      auto of_unit = split(unit, arguments.query.element_size());
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

  auto result = results_for(arguments, parts, parts > 1);
  const auto floats = [](const std::optional<Tensor>& x) {
    return x ? x->to(torch::kFloat32).contiguous() : Tensor();
  };
  const auto log_weight = floats(arguments.log_weight), threshold = floats(arguments.threshold);
  if (arguments.keep > 0) {
    result.log_weight = torch::zeros_like(result.set_lse);
  }
  std::vector<Job> jobs;
  for (int64_t part = 0; part < parts; ++part) {
    auto job = job_for(arguments, result, part);
    job.log_weight = data_of(log_weight, 0);
    job.threshold = data_of(threshold, 0);
    job.keep = arguments.keep;
    job.chosen = data_of(result.log_weight, 0);
    jobs.push_back(job);
  }
  std::atomic<std::size_t> next{0};
  const auto threads = std::min<int64_t>(at::get_num_threads(), static_cast<int64_t>(units.size()));
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (auto i = next++; i < units.size(); i = next++) {
      variant.run(jobs[units[i].part], units[i]);
    }
  });
  if (parts > 1) {
    result = merge_parts(arguments, result);
  }
  for (auto* tensor : {&result.out, &result.lse, &result.entropy, &result.set_lse,
                       &result.set_entropy, &result.set_top, &result.log_weight}) {
    if (tensor->defined()) {
      *tensor = tensor->squeeze(0);
    }
  }
  return result;
}

RowGradients backward(const RowArguments& arguments, const RowResult& result,
                      const RowResult& gradient, const Variant& variant) {
  const auto& query = arguments.query;
  const auto keys = with_dense_features(arguments.keys);
  const auto values = with_dense_features(arguments.values);
  auto units = units_of(arguments, keys, values);
  const auto kept = [](const Tensor& x) {
    return x.defined() ? x.to(torch::kFloat32).contiguous() : Tensor();
  };
  const bool out = gradient.out.defined() && result.out.defined();
  auto constant = kept(gradient.lse.defined() ? gradient.lse : torch::zeros_like(result.lse));
  if (out) {
    constant = constant - (kept(gradient.out) * kept(result.out)).sum(-1);
  }
  const auto lse = kept(result.lse), entropy = kept(result.entropy), set_lse = kept(result.set_lse),
             set_entropy = kept(result.set_entropy), d_entropy = kept(gradient.entropy),
             d_set_lse = kept(gradient.set_lse), d_set_entropy = kept(gradient.set_entropy),
             log_weight = kept(arguments.log_weight.value_or(Tensor())),
             threshold = kept(arguments.threshold.value_or(Tensor()));
  RowGradients gradients;
  gradients.query = torch::zeros(query.sizes(), query.options().dtype(torch::kFloat32));
  if (log_weight.defined()) {
    gradients.log_weight = torch::zeros_like(log_weight);
  }
  const Job job{.element = element_of(query),
                .heads = query.size(1),
                .rows = query.size(2),
                .sets = arguments.sets.sets(),
                .features = query.size(3),
                .value_features = out ? result.out.size(3) : 0,
                .scale = arguments.scale,
                .query = view_of(query),
                .log_weight = data_of(log_weight, 0),
                .threshold = data_of(threshold, 0),
                .lse = data_of(lse, 0),
                .entropy = data_of(entropy, 0),
                .set_lse = data_of(set_lse, 0),
                .set_entropy = data_of(set_entropy, 0)};
  const GradientJob gradient_job{.out = out ? view_of(gradient.out) : View(),
                                 .constant = data_of(constant, 0),
                                 .d_entropy = data_of(d_entropy, 0),
                                 .of_sets = d_set_lse.defined() || d_set_entropy.defined(),
                                 .d_set_lse = data_of(d_set_lse, 0),
                                 .d_set_entropy = data_of(d_set_entropy, 0),
                                 .d_query = data_of(gradients.query, 0),
                                 .d_log_weight = data_of(gradients.log_weight, 0),
                                 .stride = variant.gradients.stride(job.features),
                                 .value_stride = variant.gradients.stride(job.value_features)};

  // Units that read the same keys add to the same gradients, one after the other: a task. Where
  // there are few such tasks, each is split into stripes with gradients of their own, which are
  // added in the end: the same stripes for any number of threads.
  constexpr int64_t kTasks = 12, kMostStripes = 4;
  const bool shared = std::any_of(keys.begin(), keys.end(),
                                  [](const Tensor& tensor) { return tensor.size(0) == 1; });
  const auto kv_heads = keys.empty() ? 1 : keys[0].size(1);
  const auto targets = kv_heads * (shared ? 1 : query.size(0));
  const auto stripes = std::clamp<int64_t>(kTasks / targets, 1, kMostStripes);
  const auto room_for = [&](const std::vector<Tensor>& list, int64_t stride) {
    std::vector<Tensor> rooms;
    for (const auto& tensor : list) {
      rooms.push_back(torch::zeros(
          {stripes, tensor.size(0), tensor.size(1), tensor.size(2), stride}, lse.options()));
    }
    return rooms;
  };
  const auto d_keys = room_for(keys, gradient_job.stride);
  const auto d_values = out ? room_for(values, gradient_job.value_stride) : std::vector<Tensor>();
  const auto of_stripe = [](const std::vector<Tensor>& rooms, int64_t stripe) {
    std::vector<Tensor> list;
    for (const auto& room : rooms) {
      list.push_back(room.select(0, stripe));
    }
    return list;
  };
  std::vector<std::vector<Tensor>> stripe_keys, stripe_values;
  for (int64_t stripe = 0; stripe < stripes; ++stripe) {
    stripe_keys.push_back(of_stripe(d_keys, stripe));
    stripe_values.push_back(of_stripe(d_values, stripe));
  }
  std::vector<int64_t> turn(targets);
  std::vector<std::vector<const Unit*>> tasks(targets * stripes);
  for (auto& unit : units) {
    const auto target = (shared ? 0 : unit.first_batch * kv_heads) + unit.kv_head;
    const auto stripe = turn[target]++ % stripes;
    for (auto& span : unit.spans) {
      const auto place = [&](const std::vector<Tensor>& list) {
        const auto found = find(list, unit.first_batch, unit.kv_head, span.first_key);
        return static_cast<float*>(const_cast<void*>(found.data));
      };
      span.key_gradient = place(stripe_keys[stripe]);
      span.value_gradient = out ? place(stripe_values[stripe]) : nullptr;
    }
    tasks[target * stripes + stripe].push_back(&unit);
  }
  std::atomic<std::size_t> next{0};
  const auto threads = std::min<int64_t>(at::get_num_threads(), static_cast<int64_t>(tasks.size()));
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (auto i = next++; i < tasks.size(); i = next++) {
      for (const auto* unit : tasks[i]) {
        variant.gradients.run(job, gradient_job, *unit);
      }
    }
  });

  const auto finished = [&](const std::vector<Tensor>& rooms, const std::vector<Tensor>& list) {
    std::vector<Tensor> made;
    for (std::size_t i = 0; i < list.size(); ++i) {
      made.push_back(rooms.empty() ? torch::zeros_like(list[i])
                                   : (stripes == 1 ? rooms[i].squeeze(0) : rooms[i].sum(0))
                                         .slice(3, 0, list[i].size(3))
                                         .to(list[i].scalar_type()));
    }
    return made;
  };
  gradients.query = gradients.query.to(query.scalar_type());
  gradients.keys = finished(d_keys, arguments.keys);
  gradients.values = finished(d_values, arguments.values);
  if (gradients.log_weight.defined()) {
    gradients.log_weight = gradients.log_weight.to(arguments.log_weight->scalar_type());
  }
  return gradients;
}

}  // namespace motet::fused
