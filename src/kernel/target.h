#pragma once

// Highway's other targets add nothing that is used here, or are older than what runs the portable
// kernel. Said before any header of Highway's: the same in every vector file.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
#define HWY_COMPILE_ALL_ATTAINABLE
#include <hwy/detect_targets.h>

/// Which instruction sets vector code is compiled for, and which of them runs.
///
/// A file of vector code includes this header before Highway's, has its code between `#if
/// MOTET_IS_TARGET` and `#endif`, and is called by MOTET_PICK. No other file names an instruction
/// set, but the list of kernels (kernel.cpp), and none tells by the name of a kernel what runs.
///
/// NEON would be a line in that list, fused::kernel("neon", InstructionSet::kNeon), and in this
/// file HWY_NEON as a target, an InstructionSet, and a `pick` where processors are Arm's; its
/// vectors of 16 bytes need a case of their own where few_lanes-inl.h joins blocks. A kernel that
/// is not Highway's is a line in the list and a file with its `forward` and `backward`.
#define MOTET_TARGETS (HWY_AVX2 | HWY_AVX3)
#define MOTET_IS_TARGET (HWY_TARGET & MOTET_TARGETS)

namespace motet {

enum class InstructionSet {
  kNone,    // no vector code of ours
  kAvx2,    // HWY_AVX2
  kAvx512,  // HWY_AVX3
};

/// Whether vector code is there for it and this processor has it.
bool has(InstructionSet set);

/// The one whose code runs in this process beside the kernel of rows (see `use_kernel`).
InstructionSet instruction_set();

/// What the choice of products looks at.
struct Processor {
  bool x86 = false;
  bool amd = false;  // by its vendor
  bool avx512 = false;
  bool avx512_bfloat16 = false;
  bool amx_bfloat16 = false;
};
const Processor& processor();

/// `MOTET_PICK(set, space, name)`: a pointer to `space::N_...::name` as compiled for `set`; null
/// where there is none.
#if (HWY_TARGETS & MOTET_TARGETS) == MOTET_TARGETS
template <class Function>
Function* pick(InstructionSet set, Function* avx2, Function* avx512) {
  switch (set) {
    case InstructionSet::kAvx2:
      return avx2;
    case InstructionSet::kAvx512:
      return avx512;
    case InstructionSet::kNone:
      break;
  }
  return nullptr;
}
#define MOTET_PICK(set, space, name) motet::pick(set, &space::N_AVX2::name, &space::N_AVX3::name)
#else
#define MOTET_PICK(set, space, name) nullptr
#endif

}  // namespace motet
