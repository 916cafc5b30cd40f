#include "peak.h"

#include <ATen/Parallel.h>

#include <thread>
#include <vector>

#if defined(__AVX512BF16__) || defined(__AMX_BF16__)
#include <immintrin.h>
#endif
#if defined(__AMX_BF16__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace bench {
namespace {

// Of each thread: long beside the start of one, and beside the spinning of those that wait.
constexpr int64_t kRounds = int64_t{1} << 24;

#if defined(__AVX512F__)
constexpr int kBytes = 64;
#else
constexpr int kBytes = 32;
#endif
typedef float Vector __attribute__((vector_size(kBytes)));
constexpr int kLanes = kBytes / sizeof(float);
constexpr int kChains = 12;  // that do not wait for each other: latency times instructions a cycle

/// Keeps a value in a register, and the compiler from knowing it.
template <class T>
inline void hold(T& value) {
#if defined(__x86_64__)
  asm volatile("" : "+v"(value));
#else
  asm volatile("" : "+w"(value));
#endif
}

/// Rounds of `step` on chains of their own, each in a register. Twelve names in place of an array,
/// which compilers keep in memory.
template <class Register, class Step>
double chains(const Step& step) {
  Register s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{}, s8{}, s9{}, s10{}, s11{};
  const auto each = [&](const auto& act) {
    act(s0), act(s1), act(s2), act(s3), act(s4), act(s5);
    act(s6), act(s7), act(s8), act(s9), act(s10), act(s11);
  };
  for (int64_t round = 0; round < kRounds; ++round) {
    each([&](Register & sum) __attribute__((always_inline)) {
      sum = step(sum);
      hold(sum);
    });
  }
  double all = 0;
  each([&](const Register& sum) { all += sum[0]; });
  return all;
}

double multiply_add() {
  Vector a = Vector{} + 1.0F, b = Vector{} + 1e-9F;
  hold(a);
  hold(b);
  return chains<Vector>([&](Vector sum) __attribute__((always_inline)) { return sum * a + b; });
}
constexpr double kMultiplyAdd = 2.0 * kLanes * kChains;  // FLOP of a round

#if defined(__AMX_BF16__)
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t columns[16] = {};
  uint8_t rows[16] = {};
};

double low_precision() {
  constexpr int kTileData = 18, kRequest = 0x1023;  // of arch_prctl
  static const bool granted = ::syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
  if (!granted) {
    return 0;
  }
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.columns[tile] = 64;
    config.rows[tile] = 16;
  }
  alignas(64) static const uint16_t kZeros[16 * 32] = {};
  _tile_loadconfig(&config);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, kZeros, 64);
  _tile_loadd(5, kZeros, 64);
  _tile_loadd(6, kZeros, 64);
  _tile_loadd(7, kZeros, 64);
  for (int64_t round = 0; round < kRounds / 8; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  alignas(64) float out[16 * 16];
  _tile_stored(0, out, 64);
  _tile_release();
  return out[0];
}
constexpr double kLowPrecision = 2.0 * 16 * 16 * 32 * 4 / 8;  // a tile is 16 x 32 by 32 x 16
constexpr const char* kLowBy = "AMX's tiles";
#elif defined(__AVX512BF16__)
double low_precision() {
  __m512bh a = (__m512bh)_mm512_set1_epi16(0x3f80), b = (__m512bh)_mm512_set1_epi16(0x3000);
  hold(a);
  hold(b);
  return chains<__m512>([&](__m512 sum)
                            __attribute__((always_inline)) { return _mm512_dpbf16_ps(sum, a, b); });
}
constexpr double kLowPrecision = 2.0 * 2 * 16 * kChains;
constexpr const char* kLowBy = "vdpbf16ps";
#else
double low_precision() { return multiply_add(); }
constexpr double kLowPrecision = kMultiplyAdd;
constexpr const char* kLowBy = "fp32 multiply-add";
#endif

}  // namespace

void Peak::run() const {
  const bool low = dtype_ == torch::kBFloat16;
  std::vector<std::jthread> threads;
  for (int thread = 0; thread < at::get_num_threads(); ++thread) {
    threads.emplace_back([low] {
      double result = low ? low_precision() : multiply_add();
      hold(result);
    });
  }
}

double Peak::flops() const {
  const auto of_round = dtype_ == torch::kBFloat16 ? kLowPrecision : kMultiplyAdd;
  return of_round * static_cast<double>(kRounds) * at::get_num_threads();
}

std::string Peak::by() const { return dtype_ == torch::kBFloat16 ? kLowBy : "fp32 multiply-add"; }

}  // namespace bench
