// Query rows over the pieces of a context, and decoding.

#include <benchmark/benchmark.h>

#include <cstdint>

#include "motet/attention/rows.h"
#include "motet/attention/scores.h"
#include "motet/attention/sets.h"
#include "motet/reading/read_rows.h"
#include "motet/reading/select.h"
#include "ways.h"

namespace {

using benchmark::Counter;

constexpr int64_t kRows = 1024, kKeys = 8192;

/// 1,024 rows over 8,192 keys in state.range(0) pieces.
struct Pieces : bench::Inputs {
  explicit Pieces(const benchmark::State& state)
      : Inputs((at::manual_seed(2), kRows), kKeys, 64),
        sets(bench::piece_sets(kRows, kKeys, state.range(0))),
        piece_keys(bench::apart(keys, state.range(0))),
        piece_values(bench::apart(values, state.range(0))) {}

  motet::KeySets sets;
  std::vector<at::Tensor> piece_keys, piece_values;
};

template <class Call>
void measure(benchmark::State& state, int64_t rows, const Call& call) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(call());
  }
  state.counters["tokens/s"] =
      Counter(static_cast<double>(rows), Counter::kIsIterationInvariantRate);
}

void read_all(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const Pieces x(state);
  measure(state, kRows,
          [&] { return motet::attend(x.query, x.piece_keys, x.piece_values, x.sets); });
}

void read_all_with_top(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const Pieces x(state);
  measure(state, kRows, [&] {
    return motet::attend(x.query, x.piece_keys, x.piece_values, x.sets, {}, {.top = 5});
  });
}

void read_select(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const Pieces x(state);
  const motet::Select select;
  measure(state, kRows, [&] {
    return motet::read_rows(select, x.query, x.piece_keys, x.piece_values, x.sets, {0, kRows}, {});
  });
}

void score_only(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const Pieces x(state);
  measure(state, kRows, [&] { return motet::score(x.query, x.piece_keys, x.sets, 5); });
}

void sdpa_over_the_same_keys(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const Pieces x(state);
  measure(state, kRows, [&] { return bench::sdpa(x, false); });
}

/// One row of 9 heads on 3 over the keys of one layer after another, more of them than a cache
/// holds.
struct Decode {
  explicit Decode(const benchmark::State& state)
      : dtype(state.range(0) ? at::kBFloat16 : at::kFloat),
        query((at::manual_seed(3), at::randn({1, 9, 1, 64}).to(dtype))) {
    const auto layer = at::randn({2, 1, 3, kKeys, 64}).to(dtype);
    for (std::size_t bytes = 0; bytes < std::size_t{1} << 30; bytes += layer.nbytes()) {
      layers.push_back(layer.clone());
    }
  }
  const at::Tensor& next() { return layers[turn++ % layers.size()]; }
  void count(benchmark::State& state) const {
    state.counters["bytes/s"] =
        Counter(static_cast<double>(layers[0].nbytes()), Counter::kIsIterationInvariantRate);
  }

  at::ScalarType dtype;
  at::Tensor query;
  std::vector<at::Tensor> layers;
  std::size_t turn = 0;
};

void decode_row(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  Decode x(state);
  const auto sets = motet::all_keys(1, kKeys);
  measure(state, 1, [&] {
    const auto& layer = x.next();
    return motet::attend(x.query, layer[0], layer[1], sets);
  });
  x.count(state);
}

void decode_row_sdpa(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  Decode x(state);
  measure(state, 1, [&] {
    const auto& layer = x.next();
    return at::scaled_dot_product_attention(x.query, layer[0], layer[1], {}, 0.0, false, {},
                                            /*enable_gqa=*/true);
  });
  x.count(state);
}

/// The bandwidth that a row could have.
void decode_plain_sum(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  Decode x(state);
  measure(state, 1, [&] { return x.next().view(at::kFloat).sum(); });
  x.count(state);
}

// Macros: Google Benchmark names what it runs by the function's spelling.
#define READING(function, ...)       \
  BENCHMARK(function)                \
      ->ArgName("P")                 \
      ->ArgsProduct({{__VA_ARGS__}}) \
      ->UseRealTime()                \
      ->Unit(benchmark::kMillisecond)
#define DECODE(function)                                                            \
  BENCHMARK(function)->ArgName("bf16")->ArgsProduct({{0, 1}})->UseRealTime()->Unit( \
      benchmark::kMillisecond)

READING(read_all, 1, 8, 64);
READING(read_all_with_top, 1, 8, 64);
READING(read_select, 8, 64);
READING(score_only, 1, 8, 64);
READING(sdpa_over_the_same_keys, 1, 8, 64);
DECODE(decode_row);
DECODE(decode_row_sdpa);
DECODE(decode_plain_sum);

}  // namespace
