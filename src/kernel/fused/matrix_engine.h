#pragma once

#include <cstdint>

/// What multiplies matrices of bf16: a processor's own engine, AMX (Intel 64 and IA-32
/// Architectures Software Developer's Manual, volume 1, chapter 18), the same in plain C++, or its
/// vectors by pairs of bf16 (volume 2, VDPBF16PS).
namespace motet::fused {

constexpr int64_t kEngineRows = 16;   // rows of a product come in multiples of these,
constexpr int64_t kEngineDepth = 32;  // what is summed in multiples of these,
constexpr int64_t kEngineLanes = 32;  // and a product has so many columns

/// out [rows, lanes] (+)= a [rows, depth] b [depth, lanes]; sums are fp32.
struct EngineProduct {
  const uint16_t* a;  // bf16
  int64_t stride;     // of a's rows
  const uint32_t* b;  // [depth / 2, lanes]: pairs of bf16, the one of even depth in the lower half
  int64_t rows, depth;
  bool add;
  float* out;

  int64_t row = 0, k = 0;  // where it is
};

/// A thread calls `begin` before its first product and `end` after its last one, and nothing of
/// LibTorch's in between. A product is ended before another begins.
struct MatrixEngine {
  bool is_apart;  // from the vectors: what they do between two steps runs beside it
  void (*begin)();
  /// How many more steps `advance` has to take.
  int64_t (*steps)(const EngineProduct& product);
  /// Some steps of a product: small ones where the engine is apart, so that other work fits
  /// between.
  void (*advance)(EngineProduct& product, int64_t steps);
  void (*end)();
};

/// AMX's engine; null where the processor or its operating system has none.
const MatrixEngine* amx_engine();

/// The same results from plain C++, slowly: for tests.
const MatrixEngine* emulated_engine();

/// Vectors of AVX512-BF16; null where the processor has none.
const MatrixEngine* pair_engine();

}  // namespace motet::fused
