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

const Processor& processor() {
  static const Processor kProcessor = [] {
    Processor processor;
#if defined(__x86_64__)
    constexpr unsigned kAuthenticAmd = 0x68747541;  // "Auth"
    constexpr unsigned kAvx512Bfloat16 = 1U << 5, kAmxBfloat16 = 1U << 22;
    unsigned a = 0, b = 0, c = 0, d = 0;
    processor.x86 = true;
    processor.avx512 = has(InstructionSet::kAvx512);
    if (__get_cpuid(0, &a, &b, &c, &d) != 0) {
      processor.amd = b == kAuthenticAmd;
    }
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) != 0) {
      processor.amx_bfloat16 = (d & kAmxBfloat16) != 0;
    }
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) {
      processor.avx512_bfloat16 = processor.avx512 && (a & kAvx512Bfloat16) != 0;
    }
#endif
    return processor;
  }();
  return kProcessor;
}

}  // namespace motet
