// A weight matrix times a few vectors. Vectors of the processor run along the input features; a few
// rows of the weight are read side by side, and each element that is read serves every row of x.

#include "kernel/few_rows.h"

#include "kernel/target.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernel/few_rows.cpp"
#include <hwy/foreach_target.h>
// foreach_target.h comes first
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "kernel/bfloat16.h"
#include "kernel/elements-inl.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::few_rows {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using elements::HWY_NAMESPACE::D;
using elements::HWY_NAMESPACE::kVector;
using elements::HWY_NAMESPACE::LoadPair;
using elements::HWY_NAMESPACE::Pair;
using elements::HWY_NAMESPACE::V;

/// Lays out a row of x for products with weights of its dtype: pair by pair, as LoadPair gives
/// them.
template <class Element>
void LayOut(const void* row, int64_t in, float* HWY_RESTRICT to) {
  constexpr bool kApart = sizeof(Element) == 2;
  const auto* HWY_RESTRICT from = static_cast<const Element*>(row);
  int64_t i = 0;
  for (; kApart && i + 2 * kVector <= in; i += 2 * kVector) {
    for (int64_t k = 0; k < kVector; ++k) {
      to[i + k] = widen(from[i + 2 * k]);
      to[i + kVector + k] = widen(from[i + 2 * k + 1]);
    }
  }
  for (int64_t k = 0; i + k < in; ++k) {
    to[i + (kApart ? k % 2 * kVector + k / 2 : k)] = widen(from[i + k]);
  }
}

/// out[r][o] = sum_i x[r][i] w[o][i] for kRows rows of x, laid out, and kOuts of w.
template <int kRows, int kOuts, class Weight>
HWY_INLINE void Multiply(const float* HWY_RESTRICT x, int64_t x_stride,
                         const Weight* HWY_RESTRICT w, int64_t in, float* HWY_RESTRICT out,
                         int64_t out_stride) {
  const D d;
  V sum[kRows][kOuts];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int o = 0; o < kOuts; ++o) {
      sum[r][o] = hn::Zero(d);
    }
  }
  const auto add = [&](int64_t i, const auto& load) HWY_ATTR {
    Pair right[kOuts];
#pragma GCC unroll 8
    for (int o = 0; o < kOuts; ++o) {
      right[o] = load(w + o * in + i);
      hwy::Prefetch(w + (o + kOuts) * in + i);
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const auto [first, second] = LoadPair(x + r * x_stride + i);
#pragma GCC unroll 8
      for (int o = 0; o < kOuts; ++o) {
        sum[r][o] = hn::MulAdd(first, right[o].first, sum[r][o]);
        sum[r][o] = hn::MulAdd(second, right[o].second, sum[r][o]);
      }
    }
  };
  int64_t i = 0;
#pragma GCC unroll 1
  for (; i + 2 * kVector <= in; i += 2 * kVector) {
    add(i, [](const Weight* from) HWY_ATTR { return LoadPair(from); });
  }
  if (i < in) {
    add(i, [&](const Weight* from) HWY_ATTR {
      HWY_ALIGN Weight last[2 * kVector] = {};
      std::copy_n(from, in - i, last);
      return LoadPair(last);
    });
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int o = 0; o < kOuts; ++o) {
      out[r * out_stride + o] = hn::GetLane(hn::SumOfLanes(d, sum[r][o]));
    }
  }
}

/// out = sums + bias for all rows of x and these of w.
template <class Weight, class Out>
void Finish(const Product& product, int64_t first, int64_t last, const float* sums) {
  const auto* bias = static_cast<const Weight*>(product.bias);
  auto* out = static_cast<Out*>(product.out);
  for (int64_t r = 0; r < product.rows; ++r, sums += last - first, out += product.outs) {
    for (auto o = first; o < last; ++o) {
      const auto sum = sums[o - first];
      elements::HWY_NAMESPACE::StoreElement(bias != nullptr ? sum + widen(bias[o]) : sum, out + o);
    }
  }
}

/// The product for all rows of x and these of w. `sums` has room for as many.
template <class Weight>
void MultiplyAll(const Product& product, int64_t first, int64_t last, float* HWY_RESTRICT sums) {
  const auto* w = static_cast<const Weight*>(product.w);
  const auto outs = last - first;
  const auto with_rows = [&]<int kRows>(int64_t r) HWY_ATTR {
    constexpr int kOuts = kRows == 1 ? 4 : 8 / kRows;  // of a single row: as many as are read ahead
    const auto* x = product.x + r * product.stride;
    auto* to = sums + r * outs;
    auto o = first;
    for (; o + kOuts <= last; o += kOuts, to += kOuts) {
      Multiply<kRows, kOuts>(x, product.stride, w + o * product.in, product.in, to, outs);
    }
    for (; o < last; ++o, ++to) {
      Multiply<kRows, 1>(x, product.stride, w + o * product.in, product.in, to, outs);
    }
  };
  int64_t r = 0;
  for (; r + 4 <= product.rows; r += 4) {
    with_rows.template operator()<4>(r);
  }
  for (; r + 2 <= product.rows; r += 2) {
    with_rows.template operator()<2>(r);
  }
  for (; r < product.rows; ++r) {
    with_rows.template operator()<1>(r);
  }
  product.narrow_out ? Finish<Weight, uint16_t>(product, first, last, sums)
                     : Finish<Weight, float>(product, first, last, sums);
}

Variant variant(bool bfloat16) {
  return bfloat16 ? Variant{&LayOut<uint16_t>, &MultiplyAll<uint16_t>}
                  : Variant{&LayOut<float>, &MultiplyAll<float>};
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::few_rows
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#if HWY_ONCE
namespace motet {
namespace {

using few_rows::Product;
using torch::Tensor;

constexpr int64_t kBlockOuts = 32;  // rows of the weight that stay near for all rows of x
constexpr int64_t kPadding = 32;    // floats: a pair of the longest vectors

few_rows::Variant variant_for(torch::ScalarType type) {
  few_rows::Variant (*const of_set)(bool) = MOTET_PICK(instruction_set(), few_rows, variant);
  return of_set(type == torch::kBFloat16);
}

}  // namespace

bool multiplies_few_rows(const Tensor& x, const Affine& map, int64_t most) {
  const auto type = x.scalar_type();
  const auto &weight = map.weight, &bias = map.bias;
  const auto fits = [&](const Tensor& of) {
    return of.scalar_type() == type && of.is_cpu() && of.is_contiguous() &&
           !(at::GradMode::is_enabled() && of.requires_grad());
  };
  return (type == torch::kFloat32 || type == torch::kBFloat16) && fits(weight) &&
         weight.dim() == 2 &&
         (!bias.defined() || (fits(bias) && bias.dim() == 1 && bias.size(0) == weight.size(0))) &&
         x.is_cpu() && x.dim() > 0 && x.size(-1) == weight.size(1) && x.numel() > 0 &&
         x.numel() / x.size(-1) <= most && !(at::GradMode::is_enabled() && x.requires_grad()) &&
         instruction_set() != InstructionSet::kNone;
}

std::vector<Tensor> multiply_few_rows(const Tensor& x, std::span<const Affine> maps,
                                      torch::ScalarType type) {
  TORCH_INTERNAL_ASSERT(type == torch::kFloat32 || type == torch::kBFloat16);
  const auto in = x.size(-1), rows = x.numel() / in;
  const auto variant = variant_for(x.scalar_type());
  const auto dense = x.expect_contiguous();
  const auto stride = (in + kPadding - 1) / kPadding * kPadding;
  std::vector<float> laid_out(rows * stride, 0.0F);
  for (int64_t r = 0; r < rows; ++r) {
    variant.lay_out(static_cast<const char*>(dense->const_data_ptr()) + r * in * x.element_size(),
                    in, laid_out.data() + r * stride);
  }
  std::vector<Tensor> outs;
  std::vector<Product> products;
  std::vector<int64_t> ends;  // of each product's blocks, counted from the first one's
  for (const auto& [weight, bias] : maps) {
    at::DimVector sizes(x.sizes());
    sizes.back() = weight.size(0);
    const auto& out = outs.emplace_back(at::empty(sizes, x.options().dtype(type)));
    products.push_back({.x = laid_out.data(),
                        .stride = stride,
                        .rows = rows,
                        .w = weight.const_data_ptr(),
                        .bias = bias.defined() ? bias.const_data_ptr() : nullptr,
                        .in = in,
                        .outs = weight.size(0),
                        .out = out.mutable_data_ptr(),
                        .narrow_out = type == torch::kBFloat16});
    const auto blocks = (weight.size(0) + kBlockOuts - 1) / kBlockOuts;
    ends.push_back((ends.empty() ? 0 : ends.back()) + blocks);
  }
  const auto blocks = ends.back();
  std::atomic<int64_t> next{0};  // a processor that others use, too, gets fewer
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), blocks), 1, [&](int64_t, int64_t) {
    std::vector<float> sums(rows * kBlockOuts);
    for (auto block = next++; block < blocks; block = next++) {
      const auto i = std::upper_bound(ends.begin(), ends.end(), block) - ends.begin();
      const auto first = (block - (i == 0 ? 0 : ends[i - 1])) * kBlockOuts;
      variant.multiply(products[i], first, std::min(products[i].outs, first + kBlockOuts),
                       sums.data());
    }
  });
  return outs;
}

}  // namespace motet
#endif  // HWY_ONCE
