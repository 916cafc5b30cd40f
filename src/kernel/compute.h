#pragma once

#include "kernel/arguments.h"

namespace motet {

/// Rows by the kernel of this process (see `kernel_name`).
RowResult compute(const RowArguments& arguments);

/// Gradients of a loss for the inputs of `compute`, from its `result` and the gradients of the loss
/// for each of that result's tensors (undefined where there is none).
RowGradients differentiate(const RowArguments& arguments, const RowResult& result,
                           const RowResult& gradient);

/// Whether that kernel is one of AVX-512's vectors: other code that is compiled for both takes its
/// variant by this.
bool takes_avx512();

/// Whether that kernel makes a row's choice (`RowArguments::keep`) by itself for these.
bool chooses(const RowArguments& arguments);

}  // namespace motet
