// training_ratios: what the sparsity regulariser costs a training step, in time and memory.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "measure.h"
#include "motet/error.h"
#include "motet/eval/memory.h"
#include "motet/model/config.h"
#include "motet/train/initial.h"
#include "motet/train/trainer.h"
#include "report.h"

namespace {

/// A trainer whose step is one row of 1,024 tokens.
std::shared_ptr<motet::Trainer> trainer(const motet::Config& config, bool low, bool penalised) {
  motet::TrainOptions options{.steps = 1000000};
  if (penalised) {
    options.sparsity = motet::SparsityOptions();
  }
  if (low) {
    options.dtype = at::kBFloat16;
  }
  return std::make_shared<motet::Trainer>(motet::initial_model(config, 0),
                                          at::randint(config.vocabulary, {8, 1024}), options);
}

struct Options : bench::SuiteOptions {
  std::vector<std::filesystem::path> shapes;
  std::vector<std::string> peak;
};

void compare(const Options& options, const std::filesystem::path& shape, bool low,
             bench::Report& report) {
  constexpr double kTimeGoal = 1.15, kMemoryGoal = 1.05;
  const auto config = motet::load_config(shape);
  const auto what = fmt::format("training step, {} of {} layers, {}, regulariser on / off",
                                config.model_type, config.layers, low ? "bf16" : "fp32");
  if (options.quick && (shape != options.shapes[0] || low)) {
    report.skip({.name = what + ", time", .goal = kTimeGoal});
    report.skip({.name = what + ", memory", .goal = kMemoryGoal});
    return;
  }
  {
    const auto with = trainer(config, low, true), without = trainer(config, low, false);
    const auto seconds = bench::alternate({[&] { with->step(); }, [&] { without->step(); }},
                                          {.least = options.quick ? 2 : 5, .seconds = 0});
    report.add(bench::time_ratio(what + ", time", kTimeGoal, seconds[0], seconds[1]));
  }
  const auto bytes = [&](bool penalised) {
    return bench::ask_self(
        fmt::format("--threads {} --peak '{}' {} {}", at::get_num_threads(), shape.string(),
                    low ? "bf16" : "fp32", penalised ? "on" : "off"),
        2);
  };
  const auto with = bytes(true), without = bytes(false);
  report.add({.name = what + ", memory",
              .unit = "of the peak without",
              .goal = kMemoryGoal,
              .values = {with[1] / without[1]},
              .ours = {with[0]},
              .rival = {without[0]},
              .note = fmt::format("{:.0f} MB against {:.0f} MB, each in a process of its own",
                                  with[1] / 1e6, without[1] / 1e6)});
}

/// Prints the seconds of a step and the peak memory of the process in it.
void measure_peak(const Options& options) {
  const auto is = [&](std::size_t i, const char* a, const char* b) {
    motet::require(options.peak[i] == a || options.peak[i] == b, "--peak: '", options.peak[i],
                   "' is neither ", a, " nor ", b);
    return options.peak[i] == a;
  };
  const auto one =
      trainer(motet::load_config(options.peak[0]), is(1, "bf16", "fp32"), is(2, "on", "off"));
  one->step();  // the optimizer's state is made
  motet::require(motet::reset_peak_memory(),
                 "training_ratios: /proc/self/clear_refs cannot be written, so peak memory cannot "
                 "be measured here");
  const auto seconds = bench::seconds_of([&] { one->step(); });
  fmt::print("{} {}\n", seconds, motet::peak_memory().value());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("What the sparsity regulariser costs a training step of 1,024 tokens.",
               "training_ratios");
  Options options;
  app.add_option("CONFIG", options.shapes, "configurations of Hugging Face: shapes of models");
  app.add_option("--peak", options.peak, "measure one: CONFIG, fp32 or bf16, on or off")
      ->expected(3);
  motet::reuse_freed_memory();  // as motet's programs do
  return bench::run_suite(app, argc, argv, options,
                          "fewer repetitions, and the first in fp32 alone", [&] {
                            if (!options.peak.empty()) {
                              measure_peak(options);
                              return;
                            }
                            motet::require(!options.shapes.empty(), "no CONFIG is given");
                            bench::Report report(options.out, options.quick);
                            for (const auto& shape : options.shapes) {
                              for (const bool low : {false, true}) {
                                compare(options, shape, low, report);
                              }
                            }
                          });
}
