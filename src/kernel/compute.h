#pragma once

#include "kernel/arguments.h"

namespace motet {

/// Rows by the kernel of this process (see `use_kernel`), or by the next one that has what it
/// lacks.
RowResult compute(const RowArguments& arguments);

/// Gradients of a loss for the inputs of `compute`, from its `result` and the gradients of the loss
/// for each of that result's tensors (undefined where there is none).
RowGradients differentiate(const RowArguments& arguments, const RowResult& result,
                           const RowResult& gradient);

/// Whether `compute` makes the choice of RowArguments::choice by itself for these.
bool chooses(const RowArguments& arguments);

}  // namespace motet
