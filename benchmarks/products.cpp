// Products of weights and rows, by the libraries that motet chooses from and by its own: what the
// rule of motet/model/products.h rests on. Shapes are those of SmolLM2-135M.

#include "motet/model/products.h"

#include <benchmark/benchmark.h>

#include <string>

#include "motet/attention/kernel.h"
#include "motet/model/block.h"

namespace {

struct Shape {
  int64_t out, in;
};
constexpr Shape kShapes[]{{576, 576}, {1536, 576}, {576, 1536}, {49152, 576}};

/// `products` by name, or "own": motet's own where it takes them.
void product(benchmark::State& state, const std::string& products, bool low) {
  const at::NoGradGuard no_grad;
  const auto kernel = std::string(motet::kernel_name());
  const auto before = std::string(motet::products_name());
  if (products == "own") {
    motet::use_kernel(motet::kernels().front());
  } else {
    motet::use_kernel("portable");
    motet::use_products(products);
  }
  const auto rows = state.range(0);
  const auto shape = kShapes[state.range(1)];
  const auto dtype = low ? at::kBFloat16 : at::kFloat;
  // Weights of a layer come from memory, not from a cache: 30 of them by turns.
  const auto copies = shape.out > 10000 ? 1 : 30;
  std::vector<at::Tensor> weights;
  for (int copy = 0; copy < copies; ++copy) {
    weights.push_back(at::randn({shape.out, shape.in}).to(dtype));
  }
  const auto x = at::randn({rows, shape.in}).to(dtype);
  int next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(motet::linear(x, weights[next++ % copies], at::Tensor()));
  }
  state.counters["FLOP/s"] =
      benchmark::Counter(2.0 * static_cast<double>(rows * shape.out * shape.in),
                         benchmark::Counter::kIsIterationInvariantRate);
  motet::use_kernel(kernel);
  motet::use_products(before);
}

void register_all() {
  for (const bool low : {false, true}) {
    std::vector<std::string> ways{"own"};
    for (const auto name : motet::all_products()) {
      const std::string all(name);
      // Of two that differ in the other dtype alone, one.
      const bool skip = low ? all == "onednn/native" : all.ends_with("/native");
      if (!skip) {
        ways.push_back(all);
      }
    }
    for (const auto& way : ways) {
      const auto name = "product/" + way + (low ? "/bf16" : "/fp32");
      auto* one = benchmark::RegisterBenchmark(
          name.c_str(), [way, low](benchmark::State& state) { product(state, way, low); });
      one->ArgNames({"rows", "shape"})->UseRealTime()->Unit(benchmark::kMicrosecond);
      for (const int64_t rows : {1, 2, 4, 8, 16, 24, 32, 48, 64, 128, 512, 2048}) {
        if (way == "own" && rows > 64) {
          continue;
        }
        for (int64_t shape = 0; shape < 4; ++shape) {
          if (rows * kShapes[shape].out <= 4'000'000) {
            one->Args({rows, shape});
          }
        }
      }
    }
  }
}

const bool kRegistered = (register_all(), true);

}  // namespace
