// Loading a model whose files the system has in memory. MOTET_MODEL names its directory.

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <vector>

#include "motet/files/mapped.h"
#include "motet/files/safetensors.h"
#include "motet/model/weights.h"

namespace {

std::vector<std::filesystem::path> weight_files(const std::filesystem::path& directory) {
  return motet::SafeTensors::open_model(directory).files();
}

/// Times `call`, given the directory; bytes are those of the weight files.
template <class Call>
void measure(benchmark::State& state, const Call& call) {
  const char* directory = std::getenv("MOTET_MODEL");
  if (directory == nullptr) {
    state.SkipWithError("set MOTET_MODEL to the directory of a model");
    return;
  }
  int64_t bytes = 0;
  for (const auto& file : weight_files(directory)) {
    bytes += static_cast<int64_t>(std::filesystem::file_size(file));
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(call(std::filesystem::path(directory)));
  }
  state.SetBytesProcessed(state.iterations() * bytes);
}

void load_as_stored(benchmark::State& state) {
  measure(state, [](const auto& directory) { return motet::load_model(directory); });
}

void load_bfloat16(benchmark::State& state) {
  measure(state, [](const auto& directory) {
    return motet::load_model(directory, {.dtype = torch::kBFloat16});
  });
}

void hash(benchmark::State& state) {
  measure(state, [](const auto& directory) { return motet::model_hash(directory); });
}

/// What a loader that copies could not be faster than.
void read_the_bytes(benchmark::State& state) {
  measure(state, [](const auto& directory) {
    std::size_t bytes = 0;
    for (const auto& file : weight_files(directory)) {
      bytes += motet::read_file(file).size();
    }
    return bytes;
  });
}

BENCHMARK(load_as_stored)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(load_bfloat16)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(hash)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(read_the_bytes)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
