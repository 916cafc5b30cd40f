#pragma once

#include <cstdint>
#include <cstring>

namespace motet {

/// bf16 is the upper half of an fp32 number.
inline float widen(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  std::memcpy(&x, &wide, sizeof x);
  return x;
}

inline float widen(float x) { return x; }

/// To the nearest bf16, ties to even.
inline uint16_t narrow(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof x);
  constexpr uint32_t kNan = 0x7fc0;
  return static_cast<uint16_t>(x != x ? kNan : (bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

}  // namespace motet
