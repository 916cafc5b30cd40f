// Causal rows with their statistics, and what a user would run without them.

#include "motet/attention/rows.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "motet/attention/sets.h"
#include "ways.h"

namespace {

using benchmark::Counter;

bench::Inputs inputs(const benchmark::State& state) {
  at::manual_seed(1);
  return {state.range(0), state.range(0), state.range(1),
          state.range(2) ? at::kBFloat16 : at::kFloat};
}

/// Runs `call` in the loop; `products` of the size of Q K^T, half of it masked, are its work.
template <class Call>
void measure(benchmark::State& state, double products, const Call& call) {
  for (auto _ : state) {
    benchmark::DoNotOptimize(call());
  }
  const auto n = static_cast<double>(state.range(0));
  state.counters["tokens/s"] = Counter(n, Counter::kIsIterationInvariantRate);
  state.counters["FLOP/s"] =
      Counter(products * n * (n + 1) * 768, Counter::kIsIterationInvariantRate);
}

void causal(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const auto x = inputs(state);
  const auto sets = motet::causal_keys(state.range(0), state.range(0));
  measure(state, 2, [&] { return motet::attend(x.query, x.keys, x.values, sets); });
}

void causal_without_entropy(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const auto x = inputs(state);
  const auto sets = motet::causal_keys(state.range(0), state.range(0));
  measure(state, 2,
          [&] { return motet::attend(x.query, x.keys, x.values, sets, {}, {.entropy = false}); });
}

void sdpa(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const auto x = inputs(state);
  measure(state, 2, [&] { return bench::sdpa(x, true); });
}

void matrix_with_entropy(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const auto x = inputs(state);
  const auto mask = bench::causal_mask(state.range(0));
  measure(state, 2, [&] { return bench::matrix_way(x, mask); });
}

std::vector<at::Tensor> leaves(bench::Inputs& x) {
  return {x.query.requires_grad_(), x.keys.requires_grad_(), x.values.requires_grad_()};
}

/// Forward and backward, with a gradient of the entropy too.
void causal_backward(benchmark::State& state) {
  auto x = inputs(state);
  const auto wanted = leaves(x);
  const auto d_out = at::randn_like(x.query.detach());
  const auto sets = motet::causal_keys(state.range(0), state.range(0));
  measure(state, 7, [&] {
    const auto row = motet::attend(x.query, x.keys, x.values, sets);
    return bench::gradients({row.out, row.entropy}, {d_out, at::ones_like(row.entropy)}, wanted);
  });
}

void sdpa_backward(benchmark::State& state) {
  auto x = inputs(state);
  const auto wanted = leaves(x);
  const auto d_out = at::randn_like(x.query.detach());
  measure(state, 7, [&] { return bench::gradients({bench::sdpa(x, true)}, {d_out}, wanted); });
}

using Lists = std::vector<std::vector<int64_t>>;
const Lists kForward{{1024, 2048, 4096, 8192, 16384}, {64, 128}, {0, 1}};
const Lists kMatrix{{1024, 2048, 4096}, {64}, {0}};  // one of 4,096 rows takes some 3 GB
const Lists kBackward{{1024, 2048, 4096}, {64, 128}, {0}};

void arguments(benchmark::internal::Benchmark* of, const Lists& lists) {
  of->ArgNames({"N", "d", "bf16"})
      ->ArgsProduct(lists)
      ->UseRealTime()
      ->Unit(benchmark::kMillisecond);
}

BENCHMARK(causal)->Apply([](auto* of) { arguments(of, kForward); });
BENCHMARK(causal_without_entropy)->Apply([](auto* of) { arguments(of, kForward); });
BENCHMARK(sdpa)->Apply([](auto* of) { arguments(of, kForward); });
BENCHMARK(matrix_with_entropy)->Apply([](auto* of) { arguments(of, kMatrix); });
BENCHMARK(causal_backward)->Apply([](auto* of) { arguments(of, kBackward); });
BENCHMARK(sdpa_backward)->Apply([](auto* of) { arguments(of, kBackward); });

}  // namespace
