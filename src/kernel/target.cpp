#include "kernel/target.h"

#include <hwy/targets.h>

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace motet {

bool has(InstructionSet set) {
#if (HWY_TARGETS & MOTET_TARGETS) == MOTET_TARGETS
  const auto supported = hwy::SupportedTargets();
  switch (set) {
    case InstructionSet::kAvx2:
      return (supported & HWY_AVX2) != 0;
    case InstructionSet::kAvx512:
      return (supported & HWY_AVX3) != 0;
    case InstructionSet::kNone:
      break;
  }
#endif
  return set == InstructionSet::kNone;
}

bool multiplies_bfloat16() {
#if defined(__x86_64__)
  constexpr unsigned kAmxBfloat16 = 1U << 22;
  static const bool kMultiplies = [] {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBfloat16) != 0;
  }();
  return kMultiplies;
#else
  return true;
#endif
}

}  // namespace motet
