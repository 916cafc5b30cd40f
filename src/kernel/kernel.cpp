#include "kernel/kernel.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "kernel/compute.h"
#include "kernel/fused/fused.h"
#include "kernel/fused/matrix_engine.h"
#include "kernel/portable/portable.h"
#include "motet/attention/kernel.h"
#include "motet/error.h"

namespace motet {
namespace {

bool always(const RowArguments& /*arguments*/) { return true; }
bool never(const RowArguments& /*arguments*/) { return false; }

/// The best first; a kernel for tests stands behind those that it could take the place of.
const std::vector<Kernel>& all_kernels() {
  static const std::vector<Kernel> kAll = [] {
    auto amx = fused::kernel("amx", InstructionSet::kAvx512, fused::amx_engine());
    amx.supported = amx.supported && fused::amx_engine() != nullptr;
    auto pairs = fused::kernel("avx512_bf16", InstructionSet::kAvx512, fused::pair_engine());
    pairs.supported = pairs.supported && fused::pair_engine() != nullptr;
    auto emulated =
        fused::kernel("amx_emulated", InstructionSet::kAvx512, fused::emulated_engine());
    emulated.for_tests = true;
    std::vector<Kernel> all{amx,
                            pairs,
                            fused::kernel("avx512", InstructionSet::kAvx512),
                            fused::kernel("avx2", InstructionSet::kAvx2),
                            emulated,
                            {.name = "portable",
                             .computes = always,
                             .chooses = never,
                             .forward = portable::forward,
                             .backward = portable::backward}};
    if (!processor().amd) {  // Intel's multiply pairs at half the rate, as slowly as fp32
      std::swap(all[1], all[2]);
    }
    return all;
  }();
  return kAll;
}

bool is_offered(const Kernel& kernel) { return kernel.supported && !kernel.for_tests; }

/// `where` begins the message of an error.
const Kernel* kernel_named(std::string_view where, std::string_view name) {
  for (const auto& kernel : all_kernels()) {
    if (name == kernel.name) {
      require(kernel.supported, where, name, ": this processor lacks its instructions; it has ",
              kernels().front());
      return &kernel;
    }
  }
  std::string known;
  for (const auto kernel : kernels()) {
    known += (known.empty() ? "" : ", ") + std::string(kernel);
  }
  fail(where, name, ": no such kernel; there are ", known);
}

const Kernel*& chosen_kernel() {
  static const Kernel* chosen = [] {
    const char* forced = std::getenv("MOTET_KERNEL");
    return forced == nullptr ? kernel_named("", kernels().front())
                             : kernel_named("MOTET_KERNEL=", forced);
  }();
  return chosen;
}

const Kernel& kernel_for(const RowArguments& arguments) {
  const auto* chosen = chosen_kernel();
  if (chosen->computes(arguments)) {
    return *chosen;
  }
  const auto next = std::find_if(chosen + 1, &all_kernels().back(), [&](const Kernel& kernel) {
    return is_offered(kernel) && kernel.computes(arguments);
  });
  return *next;  // or the last one
}

}  // namespace

std::vector<std::string_view> kernels() {
  std::vector<std::string_view> names;
  for (const auto& kernel : all_kernels()) {
    if (is_offered(kernel)) {
      names.push_back(kernel.name);
    }
  }
  return names;
}

std::string_view kernel_name() { return chosen_kernel()->name; }

void use_kernel(std::string_view name) {
  chosen_kernel() = kernel_named("motet::use_kernel: ", name);
}

InstructionSet instruction_set() { return chosen_kernel()->instructions; }

RowResult compute(const RowArguments& arguments) {
  return kernel_for(arguments).forward(arguments);
}

RowGradients differentiate(const RowArguments& arguments, const RowResult& result,
                           const RowResult& gradient) {
  return kernel_for(arguments).backward(arguments, result, gradient);
}

bool chooses(const RowArguments& arguments) { return kernel_for(arguments).chooses(arguments); }

}  // namespace motet
