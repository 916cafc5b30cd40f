#pragma once

#include <cstdint>

/// A processor's engine for products of bf16 matrices: AMX (Intel 64 and IA-32 Architectures
/// Software Developer's Manual, volume 1, chapter 18), or the same in plain C++.
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

  /// How many more steps `advance` has to take.
  int64_t steps() const;

  int64_t row = 0, k = 0;  // where it is
};

/// A thread calls `begin` before its first product and `end` after its last one, and nothing of
/// LibTorch's in between. A product is ended before another begins.
struct MatrixEngine {
  void (*begin)();
  /// Some steps of a product: small ones, so that other work fits between them, which then runs
  /// beside the engine.
  void (*advance)(EngineProduct& product, int64_t steps);
  void (*end)();
};

/// AMX's engine; null where the processor or its operating system has none.
const MatrixEngine* amx_engine();

/// The same results from plain C++, slowly: for tests.
const MatrixEngine* emulated_engine();

}  // namespace motet::fused
