// The arithmetic between the products of a block, in one pass over its rows. Where the loops are
// plain, the compiler makes vectors of them, for each instruction set.

#include "kernel/elementwise.h"

#include "kernel/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/elementwise.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernel/bfloat16.h"
#include "kernel/elements-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::elementwise {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using elements::HWY_NAMESPACE::D;
using elements::HWY_NAMESPACE::kVector;
using elements::HWY_NAMESPACE::LoadElements;
using elements::HWY_NAMESPACE::StoreElement;
using elements::HWY_NAMESPACE::StoreElements;
using elements::HWY_NAMESPACE::V;

template <class Element>
void Norm(const NormRows& rows, int64_t first, int64_t last) {
  constexpr int64_t kSums = 32;  // apart, so that they need not wait for each other
  const auto* HWY_RESTRICT weight = static_cast<const Element*>(rows.weight);
  for (auto row = first; row < last; ++row) {
    const auto* HWY_RESTRICT x = rows.x + row * rows.width;
    auto* HWY_RESTRICT out = static_cast<Element*>(rows.out) + row * rows.width;
    float sums[kSums] = {};
    int64_t i = 0;
    for (; i + kSums <= rows.width; i += kSums) {
      for (int64_t k = 0; k < kSums; ++k) {
        sums[k] += x[i + k] * x[i + k];
      }
    }
    for (int64_t k = 0; i + k < rows.width; ++k) {
      sums[k] += x[i + k] * x[i + k];
    }
    double sum = 0;
    for (const auto part : sums) {
      sum += part;
    }
    const auto mean = static_cast<float>(sum / static_cast<double>(rows.width));
    const auto factor = 1 / std::sqrt(mean + rows.epsilon);
    for (int64_t f = 0; f < rows.width; ++f) {
      StoreElement(x[f] * factor * widen(weight[f]), out + f);
    }
  }
}

template <class Element>
void Rotate(const RotateRows& rows, int64_t first, int64_t last) {
  const auto half = rows.features / 2;
  for (auto index = first; index < last; ++index) {
    const auto row = index % rows.rows, head = index / rows.rows % rows.heads;
    const auto batch = index / rows.rows / rows.heads;
    const auto* HWY_RESTRICT x = static_cast<const Element*>(rows.x) + batch * rows.batch_stride +
                                 head * rows.head_stride + row * rows.row_stride;
    const auto* HWY_RESTRICT cos = rows.cos + row * half;
    const auto* HWY_RESTRICT sin = rows.sin + row * half;
    auto* HWY_RESTRICT out = static_cast<Element*>(rows.out) + index * rows.features;
    for (int64_t f = 0; f < half; ++f) {
      const auto a = widen(x[f]), b = widen(x[half + f]);
      StoreElement(a * cos[f] - b * sin[f], out + f);
      StoreElement(b * cos[f] + a * sin[f], out + half + f);
    }
  }
}

/// A number as the element type holds it.
HWY_INLINE V Rounded(V x, float*) { return x; }

HWY_INLINE V Rounded(V x, uint16_t*) {
  HWY_ALIGN uint16_t rounded[kVector];
  StoreElements(x, rounded);
  return LoadElements(rounded);
}

/// silu(gate) * up of one vector, written over gate.
template <class Element>
HWY_INLINE void GateVector(Element* gate, const Element* up) {
  constexpr float kMost = 88;  // exp of more is no fp32 number
  const D d;
  const auto x = LoadElements(gate);
  const auto exp = hn::Exp(d, hn::Min(hn::Neg(x), hn::Set(d, kMost)));
  const auto silu = hn::Div(x, hn::Add(hn::Set(d, 1), exp));
  // Of bf16 as in separate operations.
  StoreElements(hn::Mul(Rounded(silu, gate), LoadElements(up)), gate);
}

template <class Element>
void Gate(const GateElements& elements, int64_t first, int64_t last) {
  auto* gate = static_cast<Element*>(elements.gate);
  const auto* up = static_cast<const Element*>(elements.up);
  auto i = first;
  for (; i + kVector <= last; i += kVector) {
    GateVector(gate + i, up + i);
  }
  if (i < last) {
    HWY_ALIGN Element rest[2][kVector] = {};
    std::copy(gate + i, gate + last, rest[0]);
    std::copy(up + i, up + last, rest[1]);
    GateVector(rest[0], rest[1]);
    std::copy_n(rest[0], last - i, gate + i);
  }
}

template <class Element>
void Add(const StreamElements& elements, int64_t first, int64_t last) {
  const auto* HWY_RESTRICT stream = elements.stream;
  const auto* HWY_RESTRICT added = static_cast<const Element*>(elements.added);
  auto* HWY_RESTRICT out = elements.out;
  for (auto i = first; i < last; ++i) {
    out[i] = stream[i] + widen(added[i]);
  }
}

void NormAny(const NormRows& rows, int64_t first, int64_t last) {
  rows.bfloat16 ? Norm<uint16_t>(rows, first, last) : Norm<float>(rows, first, last);
}

void RotateAny(const RotateRows& rows, int64_t first, int64_t last) {
  rows.bfloat16 ? Rotate<uint16_t>(rows, first, last) : Rotate<float>(rows, first, last);
}

void GateAny(const GateElements& elements, int64_t first, int64_t last) {
  elements.bfloat16 ? Gate<uint16_t>(elements, first, last) : Gate<float>(elements, first, last);
}

void AddAny(const StreamElements& elements, int64_t first, int64_t last) {
  elements.bfloat16 ? Add<uint16_t>(elements, first, last) : Add<float>(elements, first, last);
}

Variant variant() { return {&NormAny, &RotateAny, &GateAny, &AddAny}; }

}  // namespace HWY_NAMESPACE
}  // namespace motet::elementwise
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#if HWY_ONCE
namespace motet {
namespace {

using torch::Tensor;

constexpr int64_t kGrain = 1 << 14;  // elements that are worth a thread

elementwise::Variant variant() {
  elementwise::Variant (*const of_set)() = MOTET_PICK(instruction_set(), elementwise, variant);
  return of_set();
}

bool fused(const Tensor& x, torch::ScalarType type, bool gradient) {
  return x.is_cpu() && (type == torch::kFloat32 || type == torch::kBFloat16) &&
         !(at::GradMode::is_enabled() && gradient) && instruction_set() != InstructionSet::kNone;
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double epsilon) {
  if (x.scalar_type() != torch::kFloat32 || x.dim() == 0 || x.numel() == 0 ||
      weight.sizes() != x.sizes().slice(x.dim() - 1) || !weight.is_cpu() ||
      !fused(x, weight.scalar_type(), x.requires_grad() || weight.requires_grad())) {
    const auto normed = x * torch::rsqrt(x.square().mean(-1, true) + epsilon);
    return (normed * weight).to(weight.scalar_type());
  }
  const auto dense = x.expect_contiguous();
  const auto dense_weight = weight.expect_contiguous();
  auto out = at::empty(x.sizes(), weight.options());
  const auto width = x.size(-1);
  const elementwise::NormRows rows{.x = dense->const_data_ptr<float>(),
                                   .weight = dense_weight->const_data_ptr(),
                                   .out = out.mutable_data_ptr(),
                                   .width = width,
                                   .epsilon = static_cast<float>(epsilon),
                                   .bfloat16 = weight.scalar_type() == torch::kBFloat16};
  const auto norm = variant().norm;
  at::parallel_for(0, x.numel() / width, std::max<int64_t>(1, kGrain / width),
                   [&](int64_t first, int64_t last) { norm(rows, first, last); });
  return out;
}

Tensor silu_gate(const Tensor& gate, const Tensor& up) {
  if (gate.sizes() != up.sizes() || gate.scalar_type() != up.scalar_type() || !up.is_cpu() ||
      !gate.is_contiguous() || !up.is_contiguous() ||
      !fused(gate, gate.scalar_type(), gate.requires_grad() || up.requires_grad())) {
    return at::silu(gate) * up;
  }
  const elementwise::GateElements elements{.gate = gate.mutable_data_ptr(),
                                           .up = up.const_data_ptr(),
                                           .bfloat16 = gate.scalar_type() == torch::kBFloat16};
  const auto multiply = variant().gate;
  at::parallel_for(0, gate.numel(), kGrain,
                   [&](int64_t first, int64_t last) { multiply(elements, first, last); });
  return gate;
}

Tensor add_to_stream(const Tensor& stream, const Tensor& added) {
  if (stream.scalar_type() != torch::kFloat32 || stream.sizes() != added.sizes() ||
      !added.is_cpu() || !stream.is_contiguous() || !added.is_contiguous() ||
      !fused(stream, added.scalar_type(), stream.requires_grad() || added.requires_grad())) {
    return stream + added;
  }
  auto out = at::empty(stream.sizes(), stream.options());
  const elementwise::StreamElements elements{.stream = stream.const_data_ptr<float>(),
                                             .added = added.const_data_ptr(),
                                             .out = out.mutable_data_ptr<float>(),
                                             .bfloat16 = added.scalar_type() == torch::kBFloat16};
  const auto add = variant().add;
  at::parallel_for(0, stream.numel(), kGrain,
                   [&](int64_t first, int64_t last) { add(elements, first, last); });
  return out;
}

void copy_rows(const Tensor& from, const Tensor& to, int64_t first) {
  const auto batch = from.size(0), heads = from.size(1), rows = from.size(2);
  if (!from.is_cpu() || !to.is_cpu() || from.scalar_type() != to.scalar_type() ||
      from.stride(3) != 1 || to.stride(3) != 1 || from.numel() > kGrain ||
      (at::GradMode::is_enabled() && (from.requires_grad() || to.requires_grad()))) {
    to.narrow(2, first, rows).copy_(from);
    return;
  }
  TORCH_INTERNAL_ASSERT(to.size(0) == batch && to.size(1) == heads && to.size(3) == from.size(3) &&
                            first >= 0 && first + rows <= to.size(2),
                        "rows of ", from.sizes(), " from row ", first, " of ", to.sizes());
  const auto bytes = from.element_size();
  const auto* source = static_cast<const char*>(from.const_data_ptr());
  auto* target = static_cast<char*>(to.mutable_data_ptr());
  const auto place = [&](const Tensor& x, int64_t b, int64_t head, int64_t row) {
    return (b * x.stride(0) + head * x.stride(1) + row * x.stride(2)) * bytes;
  };
  for (int64_t index = 0; index < batch * heads * rows; ++index) {
    const auto row = index % rows, head = index / rows % heads, b = index / rows / heads;
    std::memcpy(target + place(to, b, head, first + row), source + place(from, b, head, row),
                from.size(3) * bytes);
  }
}

Tensor rotate_pairs(const Tensor& x, const Tensor& cos, const Tensor& sin) {
  const auto angles = [&](const Tensor& of) {
    return of.is_cpu() && of.scalar_type() == torch::kFloat32 && of.is_contiguous() &&
           of.dim() == 2 && of.size(0) == x.size(2) && 2 * of.size(1) == x.size(3);
  };
  if (x.dim() != 4 || x.stride(3) != 1 || !angles(cos) || !angles(sin) ||
      !fused(x, x.scalar_type(), x.requires_grad())) {
    const auto wide = x.scalar_type() == torch::kFloat64 ? x : x.to(torch::kFloat32);
    const auto halves = wide.chunk(2, -1);
    return torch::cat({halves[0] * cos - halves[1] * sin, halves[1] * cos + halves[0] * sin}, -1)
        .to(x.scalar_type());
  }
  auto out = at::empty(x.sizes(), x.options());
  const auto features = x.size(3);
  const elementwise::RotateRows rows{.x = x.const_data_ptr(),
                                     .heads = x.size(1),
                                     .rows = x.size(2),
                                     .features = features,
                                     .batch_stride = x.stride(0),
                                     .head_stride = x.stride(1),
                                     .row_stride = x.stride(2),
                                     .cos = cos.const_data_ptr<float>(),
                                     .sin = sin.const_data_ptr<float>(),
                                     .out = out.mutable_data_ptr(),
                                     .bfloat16 = x.scalar_type() == torch::kBFloat16};
  const auto rotate = variant().rotate;
  at::parallel_for(0, x.size(0) * x.size(1) * x.size(2), std::max<int64_t>(1, kGrain / features),
                   [&](int64_t first, int64_t last) { rotate(rows, first, last); });
  return out;
}

}  // namespace motet
#endif  // HWY_ONCE
