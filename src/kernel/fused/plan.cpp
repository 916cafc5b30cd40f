#include "kernel/fused/plan.h"

#include <algorithm>
#include <utility>

#include "attention/place.h"

namespace motet::fused {
namespace {

using torch::Tensor;

constexpr int64_t kFewUnits = 16, kEnoughUnits = 32;
constexpr int64_t kParts = 24, kLeastPartKeys = 512;

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

/// Query heads, of some batches, that read the same keys.
struct HeadGroup {
  int64_t first_batch, batches, first_head, heads, kv_head;
};

std::vector<HeadGroup> groups_of(const RowArguments& arguments, int64_t lanes) {
  const auto batch = arguments.query.size(0), heads = arguments.query.size(1);
  const auto kv_heads = arguments.keys.empty() ? heads : arguments.keys[0].size(1);
  if (batch == 0 || heads == 0) {
    return {};
  }
  const auto group = heads / kv_heads;
  const bool shared = std::all_of(arguments.keys.begin(), arguments.keys.end(),
                                  [](const Tensor& tensor) { return tensor.size(0) == 1; });
  const auto together = std::min(group, lanes);
  const auto batches = shared ? std::clamp<int64_t>(lanes / together, 1, batch) : 1;
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

int64_t rows_of_unit(const HeadGroup& group, int64_t lanes) {
  return std::max<int64_t>(1, lanes / (group.batches * group.heads));
}

int64_t count_units(const RowArguments& arguments, int64_t lanes) {
  const auto segments = segments_of(arguments.sets);
  int64_t units = 0;
  for (const auto& group : groups_of(arguments, lanes)) {
    const auto step = rows_of_unit(group, lanes);
    for (const auto& segment : segments) {
      units += (segment.last - segment.first + step - 1) / step;
    }
  }
  return units;
}

}  // namespace

Elements find(const std::vector<Tensor>& list, int64_t batch, int64_t head, int64_t row) {
  const auto place = place_in(list, row);
  const auto& tensor = list[place.tensor];
  const auto offset = (tensor.size(0) == 1 ? 0 : batch * tensor.stride(0)) +
                      head * tensor.stride(1) + place.row * tensor.stride(2);
  return {static_cast<const char*>(tensor.const_data_ptr()) + offset * tensor.element_size(),
          tensor.stride(2)};
}

std::vector<Tensor> with_dense_features(const std::vector<Tensor>& list) {
  std::vector<Tensor> dense;
  for (const auto& tensor : list) {
    dense.push_back(tensor.stride(3) == 1 || tensor.numel() == 0 ? tensor : tensor.contiguous());
  }
  return dense;
}

std::vector<Unit> units_of(const RowArguments& arguments, const std::vector<Tensor>& keys,
                           const std::vector<Tensor>& values, int64_t lanes) {
  const auto segments = segments_of(arguments.sets);
  std::vector<Unit> units;
  for (const auto& group : groups_of(arguments, lanes)) {
    const auto step = rows_of_unit(group, lanes);
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

int64_t lanes_for_engine(const RowArguments& arguments) {
  auto lanes = kMostUnitLanes;
  while (lanes > kUnitLanes && count_units(arguments, lanes) < kEnoughUnits) {
    lanes /= 2;
  }
  return lanes;
}

bool are_few(const RowArguments& arguments) {
  return count_units(arguments, kUnitLanes) < kFewUnits;
}

int64_t part_keys(const std::vector<Unit>& units) {
  int64_t keys = 0;
  for (const auto& unit : units) {
    for (const auto& span : unit.spans) {
      keys += span.count;
    }
  }
  return std::max((keys + kParts - 1) / kParts, kLeastPartKeys);
}

std::vector<Unit> split(const Unit& unit, int64_t keys, int64_t element_size) {
  std::vector<Unit> parts;
  int64_t room = 0;
  for (const auto& span : unit.spans) {
    for (int64_t first = 0; first < span.count;) {
      if (room == 0) {
        parts.push_back(unit);
        parts.back().spans.clear();
        parts.back().part = static_cast<int64_t>(parts.size()) - 1;
        room = keys;
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

View view_of(const Tensor& x) {
  return {x.const_data_ptr(), x.stride(0), x.stride(1), x.stride(2), x.stride(3)};
}

Element element_of(const Tensor& x) {
  return x.scalar_type() == torch::kFloat32 ? Element::kFloat32 : Element::kBFloat16;
}

float* data_of(const Tensor& x) { return x.defined() ? x.data_ptr<float>() : nullptr; }

}  // namespace motet::fused
