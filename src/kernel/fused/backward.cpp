#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "attention/infinity.h"
#include "kernel/fused/fused.h"
#include "kernel/fused/plan.h"

namespace motet::fused {

using torch::Tensor;

RowGradients backward(const RowArguments& arguments, const RowResult& result,
                      const RowResult& gradient, InstructionSet set) {
  const auto code = gradient_code(set);
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
             threshold = kept(arguments.threshold.value_or(Tensor())),
             top_threshold = kept(result.top_threshold);
  Tensor d_mass;
  if (gradient.top_mass.defined()) {  // top_mass is constant where T is all that a row sees
    d_mass = kept(gradient.top_mass).masked_fill(top_threshold == -kInfinity, 0);
    constant = constant - d_mass * kept(result.top_mass);
  }
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
                .log_weight = data_of(log_weight),
                .threshold = data_of(threshold),
                .lse = data_of(lse),
                .entropy = data_of(entropy),
                .set_lse = data_of(set_lse),
                .set_entropy = data_of(set_entropy),
                .counts_first = arguments.counts_first,
                .top_threshold = data_of(top_threshold)};
  const GradientJob gradient_job{.out = out ? view_of(gradient.out) : View(),
                                 .constant = data_of(constant),
                                 .d_entropy = data_of(d_entropy),
                                 .d_mass = data_of(d_mass),
                                 .of_sets = d_set_lse.defined() || d_set_entropy.defined(),
                                 .d_set_lse = data_of(d_set_lse),
                                 .d_set_entropy = data_of(d_set_entropy),
                                 .d_query = data_of(gradients.query),
                                 .d_log_weight = data_of(gradients.log_weight),
                                 .stride = code.stride(job.features),
                                 .value_stride = code.stride(job.value_features)};

  // Units that read the same keys add to the same gradients, one after the other: a task. Where
  // there are few such tasks, each is split into stripes with gradients of their own, which are
  // added in the end: the same stripes for any number of threads.
  constexpr int64_t kTasks = 12, kMostStripes = 4;
  const bool shared = std::any_of(keys.begin(), keys.end(),
                                  [](const Tensor& tensor) { return tensor.size(0) == 1; });
  const auto kv_heads = keys.empty() ? query.size(1) : keys[0].size(1);
  const auto targets = kv_heads * (shared ? 1 : query.size(0));
  const auto stripes = std::clamp<int64_t>(kTasks / std::max<int64_t>(1, targets), 1, kMostStripes);
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
        code.run(job, gradient_job, *unit);
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
