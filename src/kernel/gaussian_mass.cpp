// A quadratic form of every query: a row of the covariance serves from the nearest cache.

#include "kernel/gaussian_mass.h"

#include "kernel/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/gaussian_mass.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <hwy/highway.h>

#include <algorithm>

#include "kernel/bfloat16.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::gaussian {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// Some rows of queries of one head of keys: what a row of the covariance is loaded for at once.
template <int64_t kRows>
struct Queries {
  const float* q[kRows];
  const float* mean;
  const float* covariance;
  int64_t features;
  bool full;
};

/// Adds columns [first, first + kVectors * lanes) of mean + covariance q, times q, to the masses.
template <int64_t kVectors, int64_t kRows, class D>
HWY_INLINE void AddColumns(D d, const Queries<kRows>& of, int64_t first, float* masses) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  hn::Vec<D> sums[kRows][kVectors];
  for (int64_t v = 0; v < kVectors; ++v) {
    for (int64_t r = 0; r < kRows; ++r) {
      sums[r][v] = hn::LoadU(d, of.mean + first + v * lanes);
    }
  }
  if (of.full) {
    for (int64_t j = 0; j < of.features; ++j) {
      const auto* row = of.covariance + j * of.features + first;
      hn::Vec<D> factors[kRows];
      for (int64_t r = 0; r < kRows; ++r) {
        factors[r] = hn::Set(d, of.q[r][j]);
      }
      for (int64_t v = 0; v < kVectors; ++v) {
        const auto column = hn::LoadU(d, row + v * lanes);
        for (int64_t r = 0; r < kRows; ++r) {
          sums[r][v] = hn::MulAdd(factors[r], column, sums[r][v]);
        }
      }
    }
  } else {
    for (int64_t v = 0; v < kVectors; ++v) {
      const auto variances = hn::LoadU(d, of.covariance + first + v * lanes);
      for (int64_t r = 0; r < kRows; ++r) {
        sums[r][v] = hn::MulAdd(hn::LoadU(d, of.q[r] + first + v * lanes), variances, sums[r][v]);
      }
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    auto sum = hn::Zero(d);
    for (int64_t v = 0; v < kVectors; ++v) {
      sum = hn::MulAdd(sums[r][v], hn::LoadU(d, of.q[r] + first + v * lanes), sum);
    }
    masses[r] += hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

template <int64_t kRows>
HWY_INLINE void MassOf(const Queries<kRows>& of, float* masses) {
  const hn::ScalableTag<float> d;
  const hn::CappedTag<float, 8> eight;  // features are a multiple of it, lanes may be 16
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  std::fill_n(masses, kRows, 0.0f);
  int64_t at = 0;
  for (; at + 4 * lanes <= of.features; at += 4 * lanes) {
    AddColumns<4>(d, of, at, masses);
  }
  for (; at + lanes <= of.features; at += lanes) {
    AddColumns<1>(d, of, at, masses);
  }
  for (; at < of.features; at += 8) {
    AddColumns<1>(eight, of, at, masses);
  }
}

template <class Element>
void Mass(const MassRows& rows, int64_t first, int64_t last) {
  constexpr int64_t kRows = 3;
  const auto features = rows.features, kv_heads = rows.heads / rows.group;
  const auto per_head = rows.full ? features * features : features;
  HWY_ALIGN float q[kRows][kMostFeatures];
  const auto load = [&](int64_t index, float* to) {
    const auto row = index % rows.rows, head = index / rows.rows % rows.heads;
    const auto batch = index / rows.rows / rows.heads;
    const auto* from = static_cast<const Element*>(rows.query) + batch * rows.batch_stride +
                       head * rows.head_stride + row * rows.row_stride;
    for (int64_t f = 0; f < features; ++f) {
      to[f] = widen(from[f]);
    }
  };
  for (auto index = first; index < last;) {
    const auto shared = index / (rows.rows * rows.group);  // batch and head of keys
    const auto batch = shared / kv_heads;
    const auto of = (rows.batch_means > 1 ? batch : 0) * kv_heads + shared % kv_heads;
    const auto *mean = rows.mean + of * features, *covariance = rows.covariance + of * per_head;
    load(index, q[0]);
    if (index + kRows <= last && (index + kRows - 1) / (rows.rows * rows.group) == shared) {
      for (int64_t r = 1; r < kRows; ++r) {
        load(index + r, q[r]);
      }
      MassOf<kRows>({{q[0], q[1], q[2]}, mean, covariance, features, rows.full}, rows.out + index);
      index += kRows;
    } else {
      MassOf<1>({{q[0]}, mean, covariance, features, rows.full}, rows.out + index);
      ++index;
    }
  }
}

void MassAny(const MassRows& rows, int64_t first, int64_t last) {
  rows.bfloat16 ? Mass<uint16_t>(rows, first, last) : Mass<float>(rows, first, last);
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::gaussian
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#if HWY_ONCE
namespace motet {

using torch::Tensor;

std::optional<Tensor> gaussian_mass(const Tensor& query, const Tensor& mean,
                                    const Tensor& covariance, bool full) {
  const auto features = query.size(3);
  const bool wanted = at::GradMode::is_enabled() && query.requires_grad();
  const auto type = query.scalar_type();
  if (!query.is_cpu() || !mean.is_cpu() || wanted || instruction_set() == InstructionSet::kNone ||
      mean.scalar_type() != torch::kFloat32 ||
      (type != torch::kFloat32 && type != torch::kBFloat16) || features % 8 != 0 ||
      features > gaussian::kMostFeatures || query.numel() == 0) {
    return {};
  }
  const auto q = query.stride(3) == 1 ? query : query.contiguous();
  auto out = at::empty({q.size(0), q.size(1), q.size(2)}, mean.options());
  const gaussian::MassRows rows{.query = q.const_data_ptr(),
                                .bfloat16 = type == torch::kBFloat16,
                                .heads = q.size(1),
                                .rows = q.size(2),
                                .features = features,
                                .group = q.size(1) / mean.size(1),
                                .batch_stride = q.stride(0),
                                .head_stride = q.stride(1),
                                .row_stride = q.stride(2),
                                .mean = mean.const_data_ptr<float>(),
                                .covariance = covariance.const_data_ptr<float>(),
                                .batch_means = mean.size(0),
                                .full = full,
                                .out = out.data_ptr<float>()};
  const gaussian::Mass mass = MOTET_PICK(instruction_set(), gaussian, MassAny);
  constexpr int64_t kGrain = 1 << 18;  // products that are worth a thread
  const auto of_row = full ? features * features : features;
  at::parallel_for(0, out.numel(), std::max<int64_t>(1, kGrain / of_row),
                   [&](int64_t first, int64_t last) { mass(rows, first, last); });
  return out;
}

}  // namespace motet
#endif  // HWY_ONCE
