// Vectors of fp32 from elements of fp32 or bf16, and back. Included once for each instruction set
// by Highway.

#if defined(MOTET_ELEMENTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MOTET_ELEMENTS_INL_H_
#undef MOTET_ELEMENTS_INL_H_
#else
#define MOTET_ELEMENTS_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "kernel/bfloat16.h"
#include "kernel/target.h"

#if MOTET_IS_TARGET
HWY_BEFORE_NAMESPACE();
namespace motet::elements {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;
using DBits = hn::RebindToUnsigned<D>;
using DNarrow = hn::Rebind<uint16_t, D>;

constexpr int64_t kVector = HWY_MAX_BYTES / sizeof(float);

HWY_INLINE V LoadElements(const float* from) { return hn::LoadU(D(), from); }

HWY_INLINE V LoadElements(const uint16_t* from) {  // bf16 is the upper half of an fp32 number
  const auto bits = hn::PromoteTo(DBits(), hn::LoadU(DNarrow(), from));
  return hn::BitCast(D(), hn::ShiftLeft<16>(bits));
}

HWY_INLINE void StoreElements(V x, float* to) { hn::StoreU(x, D(), to); }

HWY_INLINE void StoreElements(V x, uint16_t* to) {  // as narrow() does
  const DBits d;
  const auto bits = hn::BitCast(d, x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d, 1));
  const auto rounded = hn::ShiftRight<16>(hn::Add(bits, hn::Add(odd, hn::Set(d, 0x7fff))));
  const auto nan = hn::RebindMask(d, hn::IsNaN(x));
  hn::StoreU(hn::TruncateTo(DNarrow(), hn::IfThenElse(nan, hn::Set(d, 0x7fc0), rounded)), DNarrow(),
             to);
}

HWY_INLINE void StoreElement(float x, float* to) { *to = x; }
HWY_INLINE void StoreElement(float x, uint16_t* to) { *to = narrow(x); }

/// to := from, widened or rounded where their elements differ.
template <class From, class To>
HWY_INLINE void CopyElements(const From* HWY_RESTRICT from, int64_t count, To* HWY_RESTRICT to) {
  int64_t i = 0;
  for (; i + kVector <= count; i += kVector) {
    StoreElements(LoadElements(from + i), to + i);
  }
  for (; i < count; ++i) {
    StoreElement(widen(from[i]), to + i);
  }
}

/// As many elements as two vectors hold.
struct Pair {
  V first, second;
};

HWY_INLINE Pair LoadPair(const float* from) {
  return {LoadElements(from), LoadElements(from + kVector)};
}

HWY_INLINE Pair LoadPair(const uint16_t* from) {  // even ones, then odd ones, without a shuffle
  const D d;
  const DBits wide;
  const auto bits = hn::BitCast(wide, hn::LoadU(hn::Repartition<uint16_t, D>(), from));
  return {hn::BitCast(d, hn::ShiftLeft<16>(bits)),
          hn::BitCast(d, hn::And(bits, hn::Set(wide, 0xffff0000U)))};
}

}  // namespace HWY_NAMESPACE
}  // namespace motet::elements
HWY_AFTER_NAMESPACE();
#endif  // MOTET_IS_TARGET

#endif  // include guard
