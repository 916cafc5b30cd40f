#include "kernel/fused/matrix_engine.h"

#include <cmath>
#include <cstring>

#include "kernel/bfloat16.h"

#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace motet::fused {
namespace {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileBytes = 64;  // of a row: 16 sums, or 16 pairs of bf16
constexpr int64_t kTileSums = kTileBytes / sizeof(float);

/// The eight tiles of a thread, as `TDPBF16PS` and its companions see them.
class EmulatedTiles {
 public:
  static void begin() {}
  static void end() {}

  template <int kTile>
  static void zero() {
    std::memset(tiles_[kTile], 0, sizeof tiles_[kTile]);
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    for (int64_t row = 0; row < kTileRows; ++row) {
      std::memcpy(tiles_[kTile][row], static_cast<const char*>(from) + row * stride, kTileBytes);
    }
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    for (int64_t row = 0; row < kTileRows; ++row) {
      std::memcpy(static_cast<char*>(to) + row * stride, tiles_[kTile][row], kTileBytes);
    }
  }

  /// Even and odd elements are summed apart, each product added before it is rounded; numbers and
  /// sums below 2^-126 count as 0.
  template <int kSum, int kLeft, int kRight>
  static void add_product() {
    for (int64_t row = 0; row < kTileRows; ++row) {
      float even[kTileSums] = {}, odd[kTileSums] = {};
      for (int64_t pair = 0; pair < kTileSums; ++pair) {
        const auto left = tiles_[kLeft][row][pair];
        for (int64_t n = 0; n < kTileSums; ++n) {
          const auto right = tiles_[kRight][pair][n];
          even[n] = flushed(std::fma(lower(left), lower(right), even[n]));
          odd[n] = flushed(std::fma(upper(left), upper(right), odd[n]));
        }
      }
      for (int64_t n = 0; n < kTileSums; ++n) {
        float sum;
        std::memcpy(&sum, &tiles_[kSum][row][n], sizeof sum);
        sum = flushed(sum + flushed(even[n] + odd[n]));
        std::memcpy(&tiles_[kSum][row][n], &sum, sizeof sum);
      }
    }
  }

 private:
  static float flushed(float x) { return std::fabs(x) < 0x1p-126F ? std::copysign(0.0F, x) : x; }
  static float lower(uint32_t pair) { return flushed(widen(static_cast<uint16_t>(pair))); }
  static float upper(uint32_t pair) { return flushed(widen(static_cast<uint16_t>(pair >> 16))); }

  static thread_local uint32_t tiles_[8][kTileRows][kTileSums];
};
thread_local uint32_t EmulatedTiles::tiles_[8][kTileRows][kTileSums];

constexpr int64_t kOutStride = kEngineLanes * sizeof(float);
constexpr int64_t kPairStride = kEngineLanes * sizeof(uint32_t);

/// Whether all of b stays in tiles 4 to 7 for all of a's rows: then each tile of a that is loaded
/// is multiplied twice, and b is loaded once.
bool keeps_b(const EngineProduct& product) {
  return !product.add && product.depth <= 2 * kEngineDepth;
}

/// Some 16 rows of a product that keeps b: sums in tiles 0 and 1.
template <class Tiles>
void step_with_b(EngineProduct& product) {
  const bool deep = product.depth > kEngineDepth;
  if (product.row == 0) {
    Tiles::template load<4>(product.b, kPairStride);
    Tiles::template load<5>(product.b + kTileSums, kPairStride);
    if (deep) {
      Tiles::template load<6>(product.b + kTileRows * kEngineLanes, kPairStride);
      Tiles::template load<7>(product.b + kTileRows * kEngineLanes + kTileSums, kPairStride);
    }
  }
  const auto stride = product.stride * static_cast<int64_t>(sizeof(uint16_t));
  const auto* a = product.a + product.row * product.stride;
  Tiles::template zero<0>();
  Tiles::template zero<1>();
  Tiles::template load<2>(a, stride);
  Tiles::template add_product<0, 2, 4>();
  Tiles::template add_product<1, 2, 5>();
  if (deep) {
    Tiles::template load<3>(a + kEngineDepth, stride);
    Tiles::template add_product<0, 3, 6>();
    Tiles::template add_product<1, 3, 7>();
  }
  auto* out = product.out + product.row * kEngineLanes;
  Tiles::template store<0>(out, kOutStride);
  Tiles::template store<1>(out + kTileSums, kOutStride);
  product.row += kTileRows;
}

/// kEngineDepth of 16 * kBands rows: sums in tiles 0 to 3, left factors in 4 and 5, right ones in 6
/// and 7.
template <class Tiles, int kBands>
void step(EngineProduct& product) {
  constexpr int64_t kLowerBand = kTileRows * kEngineLanes;  // the second band's sums
  auto* out = product.out + product.row * kEngineLanes;
  if (product.k == 0 && product.add) {
    Tiles::template load<0>(out, kOutStride);
    Tiles::template load<1>(out + kTileSums, kOutStride);
    if constexpr (kBands == 2) {
      Tiles::template load<2>(out + kLowerBand, kOutStride);
      Tiles::template load<3>(out + kLowerBand + kTileSums, kOutStride);
    }
  } else if (product.k == 0) {
    Tiles::template zero<0>();
    Tiles::template zero<1>();
    if constexpr (kBands == 2) {
      Tiles::template zero<2>();
      Tiles::template zero<3>();
    }
  }
  const auto stride = product.stride * static_cast<int64_t>(sizeof(uint16_t));
  const auto* a = product.a + product.row * product.stride + product.k;
  const auto* b = product.b + product.k / 2 * kEngineLanes;
  Tiles::template load<6>(b, kPairStride);
  Tiles::template load<4>(a, stride);
  Tiles::template add_product<0, 4, 6>();
  Tiles::template load<7>(b + kTileSums, kPairStride);
  Tiles::template add_product<1, 4, 7>();
  if constexpr (kBands == 2) {
    Tiles::template load<5>(a + kTileRows * product.stride, stride);
    Tiles::template add_product<2, 5, 6>();
    Tiles::template add_product<3, 5, 7>();
  }
  product.k += kEngineDepth;
  if (product.k < product.depth) {
    return;
  }
  product.k = 0;
  product.row += kBands * kTileRows;
  Tiles::template store<0>(out, kOutStride);
  Tiles::template store<1>(out + kTileSums, kOutStride);
  if constexpr (kBands == 2) {
    Tiles::template store<2>(out + kLowerBand, kOutStride);
    Tiles::template store<3>(out + kLowerBand + kTileSums, kOutStride);
  }
}

template <class Tiles>
void advance(EngineProduct& product, int64_t steps) {
  const bool keeps = keeps_b(product);
  for (; steps > 0 && product.row < product.rows; --steps) {
    if (keeps) {
      step_with_b<Tiles>(product);
    } else if (product.row + 2 * kTileRows <= product.rows) {
      step<Tiles, 2>(product);
    } else {
      step<Tiles, 1>(product);
    }
  }
}

int64_t steps_of(const EngineProduct& product) {
  const auto rows = product.rows - product.row;
  if (keeps_b(product)) {
    return rows / kTileRows;
  }
  const auto bands = (rows + 2 * kTileRows - 1) / (2 * kTileRows);
  return (bands * product.depth - product.k) / kEngineDepth;
}

template <class Tiles>
constexpr MatrixEngine kEngine{.is_apart = true,
                               .begin = &Tiles::begin,
                               .steps = &steps_of,
                               .advance = &advance<Tiles>,
                               .end = &Tiles::end};

#if defined(__x86_64__) && defined(__linux__)

/// The instructions themselves. Compilers' own functions for them do not all say that they read and
/// write memory, so these are written out.
struct AmxTiles {
  static void begin() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {kTileBytes, kTileBytes, kTileBytes, kTileBytes,
                                kTileBytes, kTileBytes, kTileBytes, kTileBytes};
      uint8_t rows[16] = {kTileRows, kTileRows, kTileRows, kTileRows,
                          kTileRows, kTileRows, kTileRows, kTileRows};
    } const shapes;
    static_assert(sizeof shapes == 64);
    asm volatile("ldtilecfg %0" : : "m"(shapes));
  }
  static void end() { asm volatile("tilerelease"); }

  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kTile>
  static void store(void* to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }
  template <int kSum, int kLeft, int kRight>
  static void add_product() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSum), "i"(kLeft), "i"(kRight));
  }
};

bool has_amx() {
  constexpr unsigned kBFloat16 = 1U << 22, kTile = 1U << 24;
  unsigned a, b, c, d;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kBFloat16) == 0 || (d & kTile) == 0) {
    return false;
  }
  // Linux saves tiles only for processes that ask for it (its documentation: x86/xstate.rst).
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

#endif

}  // namespace

const MatrixEngine* amx_engine() {
#if defined(__x86_64__) && defined(__linux__)
  static const bool kHas = has_amx();
  return kHas ? &kEngine<AmxTiles> : nullptr;
#else
  return nullptr;
#endif
}

const MatrixEngine* emulated_engine() { return &kEngine<EmulatedTiles>; }

}  // namespace motet::fused
