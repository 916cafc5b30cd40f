#include "motet/attention/kernel.h"

#include <cstdlib>
#include <string>

#include "attention/compute.h"
#include "attention/fused.h"
#include "attention/portable.h"
#include "motet/error.h"

namespace motet {
namespace {

struct Kernel {
  std::string_view name;
  fused::RunUnit run;  // null: portable
};

Kernel kernel_named(std::string_view where, std::string_view name) {
  if (name == "portable") {
    return {"portable", nullptr};
  }
  std::string known;
  for (const auto& variant : fused::variants()) {
    if (name == variant.name) {
      require(variant.supported, where, name, ": this processor lacks its instructions; it has ",
              kernels().front());
      return {variant.name, variant.run};
    }
    known += std::string(variant.name) + ", ";
  }
  fail(where, name, ": no such kernel; there are ", known, "portable");
}

Kernel& kernel() {
  static Kernel chosen = [] {
    const char* forced = std::getenv("MOTET_KERNEL");
    return forced == nullptr ? kernel_named("", kernels().front())
                             : kernel_named("MOTET_KERNEL=", forced);
  }();
  return chosen;
}

}  // namespace

std::vector<std::string_view> kernels() {
  std::vector<std::string_view> names;
  for (const auto& variant : fused::variants()) {
    if (variant.supported) {
      names.push_back(variant.name);
    }
  }
  names.emplace_back("portable");
  return names;
}

std::string_view kernel_name() { return kernel().name; }

void use_kernel(std::string_view name) { kernel() = kernel_named("motet::use_kernel: ", name); }

RowResult compute(const RowArguments& arguments) {
  const auto run = kernel().run;
  return run != nullptr && fused::supports(arguments) ? fused::forward(arguments, run)
                                                      : portable::forward(arguments);
}

}  // namespace motet
