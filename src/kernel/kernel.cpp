#include "motet/attention/kernel.h"

#include <cstdlib>
#include <string>

#include "kernel/compute.h"
#include "kernel/fused/fused.h"
#include "kernel/portable/portable.h"
#include "motet/error.h"

namespace motet {
namespace {

struct Kernel {
  std::string_view name;
  const fused::Variant* variant;  // null: portable
};

Kernel kernel_named(std::string_view where, std::string_view name) {
  if (name == "portable") {
    return {"portable", nullptr};
  }
  for (const auto& variant : fused::variants()) {
    if (name == variant.name) {
      require(variant.supported, where, name, ": this processor lacks its instructions; it has ",
              kernels().front());
      return {variant.name, &variant};
    }
  }
  std::string known;
  for (const auto kernel : kernels()) {
    known += (known.empty() ? "" : ", ") + std::string(kernel);
  }
  fail(where, name, ": no such kernel; there are ", known);
}

Kernel& kernel() {
  static Kernel chosen = [] {
    const char* forced = std::getenv("MOTET_KERNEL");
    return forced == nullptr ? kernel_named("", kernels().front())
                             : kernel_named("MOTET_KERNEL=", forced);
  }();
  return chosen;
}

/// The fused kernel that computes these, or null.
const fused::Variant* variant_for(const RowArguments& arguments) {
  return fused::supports(arguments) ? kernel().variant : nullptr;
}

}  // namespace

std::vector<std::string_view> kernels() {
  std::vector<std::string_view> names;
  for (const auto& variant : fused::variants()) {
    if (variant.supported && !variant.for_tests) {
      names.push_back(variant.name);
    }
  }
  names.emplace_back("portable");
  return names;
}

std::string_view kernel_name() { return kernel().name; }

void use_kernel(std::string_view name) { kernel() = kernel_named("motet::use_kernel: ", name); }

bool takes_avx512() { return kernel_name() == "avx512" || kernel_name().starts_with("amx"); }

RowResult compute(const RowArguments& arguments) {
  const auto* variant = variant_for(arguments);
  return variant != nullptr ? fused::forward(arguments, *variant) : portable::forward(arguments);
}

RowGradients differentiate(const RowArguments& arguments, const RowResult& result,
                           const RowResult& gradient) {
  const auto* variant = variant_for(arguments);
  return variant != nullptr ? fused::backward(arguments, result, gradient, *variant)
                            : portable::backward(arguments, result, gradient);
}

bool chooses(const RowArguments& arguments) {
  return variant_for(arguments) != nullptr && fused::chooses(arguments);
}

}  // namespace motet
