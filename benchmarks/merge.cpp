// Merging the rows of P parts, and the plain formula for their outputs alone.

#include "motet/attention/merge.h"

#include <benchmark/benchmark.h>

#include <cstdint>
#include <vector>

#include "motet/attention/sets.h"
#include "ways.h"

namespace {

constexpr int64_t kRows = 1024, kKeys = 16;

std::vector<motet::Row> parts(const benchmark::State& state) {
  at::manual_seed(4);
  std::vector<motet::Row> rows;
  for (int64_t part = 0; part < state.range(0); ++part) {
    const bench::Inputs x(kRows, kKeys, 64);
    rows.push_back(motet::attend(x.query, x.keys, x.values, motet::all_keys(kRows, kKeys)));
  }
  return rows;
}

void count(benchmark::State& state) {
  state.counters["rows/s"] = benchmark::Counter(static_cast<double>(kRows * 12 * state.range(0)),
                                                benchmark::Counter::kIsIterationInvariantRate);
}

void merge(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const auto rows = parts(state);
  for (auto _ : state) {
    benchmark::DoNotOptimize(motet::merge(rows));
  }
  count(state);
}

void plain_formula_of_out(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  const auto rows = parts(state);
  for (auto _ : state) {
    std::vector<at::Tensor> outs, lses;
    for (const auto& row : rows) {
      outs.push_back(row.out);
      lses.push_back(row.lse);
    }
    const auto weights = at::stack(lses, -1).softmax(-1);  // [batch, heads, query, parts]
    benchmark::DoNotOptimize(at::matmul(weights.unsqueeze(-2), at::stack(outs, -2)));
  }
  count(state);
}

BENCHMARK(merge)->ArgName("P")->RangeMultiplier(4)->Range(4, 64)->UseRealTime()->Unit(
    benchmark::kMillisecond);
BENCHMARK(plain_formula_of_out)
    ->ArgName("P")
    ->RangeMultiplier(4)
    ->Range(4, 64)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
