#pragma once

#include <functional>
#include <string_view>

#include "kernel/arguments.h"
#include "kernel/target.h"

namespace motet {

/// A way of computing rows: a value in the list of kernel.cpp. Rows that the chosen kernel lacks
/// something for go to the next one in the list that has it; the last one has everything.
struct Kernel {
  std::string_view name;
  bool supported = true;   // by this processor
  bool for_tests = false;  // runs where it is named, and is not offered
  InstructionSet instructions = InstructionSet::kNone;  // of other vector code, while it is chosen

  /// Whether it has all that these ask for: device, dtype, rule of scores, visibility.
  std::function<bool(const RowArguments&)> computes;
  /// Whether `forward` makes the choice of RowArguments::choice by itself for these.
  std::function<bool(const RowArguments&)> chooses;
  std::function<RowResult(const RowArguments&)> forward;
  /// Gradients of a loss for the inputs of `forward`, from its result and the gradients of the loss
  /// for each of that result's tensors (undefined where there is none).
  std::function<RowGradients(const RowArguments&, const RowResult& result,
                             const RowResult& gradient)>
      backward;
};

}  // namespace motet
