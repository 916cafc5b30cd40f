#include "attention/fused.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <limits>

namespace motet::fused {
namespace {

using torch::Tensor;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

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

/// Elements of a head from `row` on, in the list that is read as if laid end to end.
struct Place {
  const void* data;
  int64_t stride;
};

Place find(const std::vector<Tensor>& list, int64_t batch, int64_t head, int64_t row) {
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

/// All units, the longest first, so that threads end together.
std::vector<Unit> plan(const RowArguments& arguments, const std::vector<Tensor>& keys,
                       const std::vector<Tensor>& values) {
  const auto batch = arguments.query.size(0), heads = arguments.query.size(1);
  const auto kv_heads = keys.empty() ? heads : keys[0].size(1);
  const auto group = heads / kv_heads;
  const bool shared = std::all_of(keys.begin(), keys.end(),
                                  [](const Tensor& tensor) { return tensor.size(0) == 1; });
  const auto unit_heads = std::min(group, kUnitLanes);
  const auto unit_batches = shared ? std::clamp<int64_t>(kUnitLanes / unit_heads, 1, batch) : 1;
  const auto segments = segments_of(arguments.sets);
  std::vector<Unit> units;
  for (int64_t b = 0; b < batch; b += unit_batches) {
    for (int64_t kv = 0; kv < kv_heads; ++kv) {
      for (auto h = kv * group; h < (kv + 1) * group; h += unit_heads) {
        const auto batches = std::min(unit_batches, batch - b);
        const auto together = std::min(unit_heads, (kv + 1) * group - h);
        const auto step = std::max<int64_t>(1, kUnitLanes / (batches * together));
        for (const auto& segment : segments) {
          std::vector<UnitSpan> spans;
          for (const auto* span : segment.spans) {
            const auto key = find(keys, b, kv, span->first_key);
            const auto value =
                values.empty() ? Place{nullptr, 0} : find(values, b, kv, span->first_key);
            spans.push_back(
                {.set = span->set,
                 .factor = arguments.sets.factor(span->set),
                 .seen_by_first = span->causal ? span->keys - span->rows + 1 : span->keys,
                 .more_each_row = span->causal ? 1 : 0,
                 .keys = key.data,
                 .key_stride = key.stride,
                 .values = value.data,
                 .value_stride = value.stride});
          }
          for (auto first = segment.first; first < segment.last; first += step) {
            Unit unit{.first_row = first,
                      .rows = std::min(step, segment.last - first),
                      .first_batch = b,
                      .batches = batches,
                      .first_head = h,
                      .heads = together,
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
    }
  }
  std::stable_sort(units.begin(), units.end(),
                   [](const Unit& a, const Unit& b) { return a.cost > b.cost; });
  return units;
}

}  // namespace

bool supports(const RowArguments& arguments) {
  const auto type = arguments.query.scalar_type();
  return arguments.query.is_cpu() && (type == torch::kFloat32 || type == torch::kBFloat16);
}

RowResult forward(const RowArguments& arguments, RunUnit run) {
  const auto& query = arguments.query;
  const auto batch = query.size(0), heads = query.size(1), rows = query.size(2);
  const auto sets = arguments.sets.sets();
  const auto options = query.options().dtype(torch::kFloat32);
  RowResult result;
  result.lse = torch::full({batch, heads, rows}, -kInfinity, options);
  result.set_lse = torch::full({batch, heads, rows, sets}, -kInfinity, options);
  if (arguments.entropy) {
    result.entropy = torch::zeros({batch, heads, rows}, options);
    result.set_entropy = torch::zeros({batch, heads, rows, sets}, options);
  }
  if (arguments.top > 0) {
    result.set_top = torch::full({batch, heads, rows, sets, arguments.top}, -kInfinity, options);
  }
  const auto keys = with_dense_features(arguments.keys);
  const auto values = with_dense_features(arguments.values);
  Job job{
      .element = query.scalar_type() == torch::kFloat32 ? Element::kFloat32 : Element::kBFloat16,
      .heads = heads,
      .rows = rows,
      .sets = sets,
      .features = query.size(3),
      .scale = arguments.scale,
      .top = arguments.top,
      .query = view_of(query)};
  if (!values.empty()) {
    // Rows of all heads of a token side by side, as the next product wants them.
    job.value_features = values[0].size(3);
    result.out =
        torch::empty({batch, rows, heads, job.value_features}, query.options()).transpose(1, 2);
    job.out = result.out.mutable_data_ptr();
    job.out_batch = result.out.stride(0);
    job.out_head = result.out.stride(1);
    job.out_row = result.out.stride(2);
  }
  Tensor log_weight, threshold;
  if (arguments.log_weight) {
    log_weight = arguments.log_weight->to(torch::kFloat32).contiguous();
    job.log_weight = log_weight.const_data_ptr<float>();
  }
  if (arguments.threshold) {
    threshold = arguments.threshold->to(torch::kFloat32).contiguous();
    job.threshold = threshold.const_data_ptr<float>();
  }
  const auto data = [](const Tensor& x) { return x.defined() ? x.data_ptr<float>() : nullptr; };
  job.lse = data(result.lse);
  job.entropy = data(result.entropy);
  job.set_lse = data(result.set_lse);
  job.set_entropy = data(result.set_entropy);
  job.set_top = data(result.set_top);

  const auto units = plan(arguments, keys, values);
  std::atomic<std::size_t> next{0};
  const auto threads = std::min<int64_t>(at::get_num_threads(), static_cast<int64_t>(units.size()));
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (auto i = next++; i < units.size(); i = next++) {
      run(job, units[i]);
    }
  });
  return result;
}

}  // namespace motet::fused
