// Text to tokens and back. MOTET_MODEL names the directory of a tokenizer of bytes,
// MOTET_CHARACTERS that of one of characters (SentencePiece's BPE), MOTET_TEXT a text.

#include "motet/text/tokenizer.h"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <string>

#include "motet/files/mapped.h"

namespace {

using benchmark::Counter;

/// The value of an environment variable; null, and the benchmark skipped, where it is not set.
const char* wanted(benchmark::State& state, const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr) {
    state.SkipWithError((std::string("set ") + variable).c_str());
  }
  return value;
}

void load(benchmark::State& state, const char* variable) {
  if (const auto* directory = wanted(state, variable)) {
    for (auto _ : state) {
      benchmark::DoNotOptimize(motet::Tokenizer::load(directory));
    }
  }
}

void encode(benchmark::State& state, const char* variable) {
  const auto* directory = wanted(state, variable);
  const auto* path = wanted(state, "MOTET_TEXT");
  if (directory == nullptr || path == nullptr) {
    return;
  }
  const auto tokenizer = motet::Tokenizer::load(directory);
  const auto text = motet::read_file(path);
  std::size_t tokens = 0;
  for (auto _ : state) {
    tokens = tokenizer.encode(text).ids.size();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
  state.counters["tokens/s"] =
      Counter(static_cast<double>(tokens), Counter::kIsIterationInvariantRate);
}

void decode(benchmark::State& state, const char* variable) {
  const auto* directory = wanted(state, variable);
  const auto* path = wanted(state, "MOTET_TEXT");
  if (directory == nullptr || path == nullptr) {
    return;
  }
  const auto tokenizer = motet::Tokenizer::load(directory);
  const auto ids = tokenizer.encode(motet::read_file(path)).ids;
  for (auto _ : state) {
    benchmark::DoNotOptimize(tokenizer.decode(ids));
  }
  state.counters["tokens/s"] =
      Counter(static_cast<double>(ids.size()), Counter::kIsIterationInvariantRate);
}

BENCHMARK_CAPTURE(load, bytes, "MOTET_MODEL")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, bytes, "MOTET_MODEL")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode, bytes, "MOTET_MODEL")->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(load, characters, "MOTET_CHARACTERS")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(encode, characters, "MOTET_CHARACTERS")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode, characters, "MOTET_CHARACTERS")
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
