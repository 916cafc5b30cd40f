// A unit's rows and keys: where they lie, which keys a row sees, and rows read from tensors, as
// rows or as lanes. Included once for each instruction set by Highway.

#if defined(MOTET_ATTENTION_UNIT_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ATTENTION_UNIT_ROWS_INL_H_
#undef MOTET_ATTENTION_UNIT_ROWS_INL_H_
#else
#define MOTET_ATTENTION_UNIT_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstdint>

#include "kernel/bfloat16.h"
#include "kernel/fused/turning-inl.h"
#include "kernel/fused/unit.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::fused {
namespace HWY_NAMESPACE {

using elements::HWY_NAMESPACE::CopyElements;

/// An element of a tensor in fp32.
HWY_INLINE float ElementAt(const void* data, Element element, int64_t at) {
  return element == Element::kFloat32 ? static_cast<const float*>(data)[at]
                                      : widen(static_cast<const uint16_t*>(data)[at]);
}

/// Rows of a matrix in fp32.
struct Rows {
  const float* data;
  int64_t stride;
};

/// Rows [first, first + count): where they lie, or widened into `room`.
HWY_INLINE Rows ReadRows(const void* data, Element element, int64_t stride, int64_t first,
                         int64_t count, int64_t features, float* HWY_RESTRICT room) {
  if (element == Element::kFloat32) {
    return {static_cast<const float*>(data) + first * stride, stride};
  }
  const auto* rows = static_cast<const uint16_t*>(data) + first * stride;
  for (int64_t j = 0; j < count; ++j) {
    CopyElements(rows + j * stride, features, room + j * features);
  }
  return {room, features};
}

/// The number of lanes of a unit.
inline int64_t LanesOf(const Unit& unit) { return unit.rows * unit.batches * unit.heads; }

/// The row of the whole that a lane of a unit is.
struct Place {
  int64_t batch, head, row;
  int64_t index;  // of [batch, heads, rows]
};

HWY_INLINE Place PlaceOf(const Job& job, const Unit& unit, int64_t lane) {
  const auto pairs = unit.batches * unit.heads;
  const auto pair = lane % pairs;
  const auto batch = unit.first_batch + pair / unit.heads;
  const auto head = unit.first_head + pair % unit.heads;
  const auto row = unit.first_row + lane / pairs;
  return {batch, head, row, (batch * job.heads + head) * job.rows + row};
}

/// A row of a tensor in fp32.
HWY_INLINE void CopyRow(const View& view, Element element, const Place& at, int64_t features,
                        float* HWY_RESTRICT to) {
  const auto first = at.batch * view.batch + at.head * view.head + at.row * view.row;
  if (view.feature != 1) {
    for (int64_t f = 0; f < features; ++f) {
      to[f] = ElementAt(view.data, element, first + f * view.feature);
    }
  } else if (element == Element::kFloat32) {
    std::copy_n(static_cast<const float*>(view.data) + first, features, to);
  } else {
    CopyElements(static_cast<const uint16_t*>(view.data) + first, features, to);
  }
}

/// Some rows of a tensor: [features, lanes], times `scale`; 0 beyond `lanes`. `room` is for kVector
/// rows.
template <int kVectors>
HWY_INLINE void LayOut(Element element, const View& view, int64_t features, const Place* places,
                       int64_t lanes, float scale, float* HWY_RESTRICT room,
                       float* HWY_RESTRICT to) {
  constexpr auto kCount = Lanes<kVectors>::kCount;
  for (int64_t first = 0; first < kCount; first += kVector) {
    for (int64_t lane = 0; lane < kVector; ++lane) {
      auto* row = room + lane * features;
      if (first + lane >= lanes) {
        std::fill_n(row, features, 0.0F);
        continue;
      }
      CopyRow(view, element, places[first + lane], features, row);
      for (int64_t f = 0; f < features; ++f) {
        row[f] *= scale;
      }
    }
    const auto whole = features / 4 * 4;
    ToLanes<kCount>([&](int64_t lane) HWY_ATTR { return room + lane * features; }, whole,
                    to + first);
    for (auto f = whole; f < features; ++f) {
      for (int64_t lane = 0; lane < kVector; ++lane) {
        to[f * kCount + first + lane] = room[lane * features + f];
      }
    }
  }
}

/// The factor between products of query and key, and scores, base 2.
inline float ScaleOf(const Job& job, double factor) {
  return static_cast<float>(job.scale * factor * 1.4426950408889634);
}

/// The number of keys of a span that a row of the unit sees.
HWY_INLINE int64_t KeysSeen(const UnitSpan& span, int64_t row) {
  return std::clamp<int64_t>(span.seen_by_first + row * span.more_each_row, 0, span.count);
}

/// The number, of `seen` keys of a span, that lies in a block of `count` that begins at `first`.
template <int64_t kLanes>
HWY_INLINE void SeenOfBlock(const int64_t (&seen)[kLanes], int64_t first, int64_t count,
                            float* HWY_RESTRICT here) {
  for (int64_t lane = 0; lane < kLanes; ++lane) {
    here[lane] = static_cast<float>(std::clamp<int64_t>(seen[lane] - first, 0, count));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::fused
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
