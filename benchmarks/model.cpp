// A whole model, with all probes on. The environment variable MOTET_MODEL names its directory.

#include "model.h"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <map>
#include <memory>

#include "motet/context/layout.h"
#include "motet/model/encode.h"
#include "motet/model/weights.h"

namespace {

using benchmark::Counter;

/// The model in this dtype, loaded once; null, and the benchmark skipped, where there is none.
const motet::Decoder* model(benchmark::State& state) {
  static std::map<bool, std::shared_ptr<motet::Decoder>> loaded;
  const char* directory = std::getenv("MOTET_MODEL");
  if (directory == nullptr) {
    state.SkipWithError("set MOTET_MODEL to the directory of a model");
    return nullptr;
  }
  const bool low = state.range(1) != 0;
  auto& slot = loaded[low];
  if (!slot) {
    slot = motet::load_model(directory, {.dtype = low ? torch::kBFloat16 : torch::kFloat32});
  }
  return slot.get();
}

void count(benchmark::State& state, int64_t tokens) {
  state.counters["tokens/s"] =
      Counter(static_cast<double>(tokens), Counter::kIsIterationInvariantRate);
}

void prefill(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  if (const auto* decoder = model(state)) {
    const auto tokens = bench::tokens_for(*decoder, state.range(0));
    for (auto _ : state) {
      benchmark::DoNotOptimize(bench::prefill(*decoder, tokens));
    }
    count(state, state.range(0));
  }
}

/// A context of 4,096 tokens in P pieces.
void encode(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  if (const auto* decoder = model(state)) {
    const auto tokens = bench::tokens_for(*decoder, 4096);
    const auto layout = motet::make_layout(0, motet::split_tokens(4096, state.range(0)));
    for (auto _ : state) {
      bench::AllProbes probes(motet::RowKind::kContext);
      benchmark::DoNotOptimize(motet::encode(*decoder, tokens, layout, probes.list()));
    }
    count(state, 4096);
  }
}

void decode(benchmark::State& state) {
  const at::NoGradGuard no_grad;
  if (const auto* decoder = model(state)) {
    bench::Decoding decoding(*decoder, state.range(0));
    for (auto _ : state) {
      decoding.step();
    }
    count(state, 1);
    state.counters["bytes/s"] =
        Counter(bench::bytes_of_token(*decoder, static_cast<double>(state.range(0))),
                Counter::kIsIterationInvariantRate);
  }
}

BENCHMARK(prefill)
    ->ArgNames({"N", "bf16"})
    ->ArgsProduct({{1024, 2048, 4096}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(encode)
    ->ArgNames({"P", "bf16"})
    ->ArgsProduct({{1, 2, 4, 8}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK(decode)
    ->ArgNames({"context", "bf16"})
    ->ArgsProduct({{1024, 4096}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
