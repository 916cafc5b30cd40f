#pragma once

#include <string_view>

#include "kernel/fused/matrix_engine.h"
#include "kernel/kernel.h"

/// Rows over sets of keys by the fused kernel: fp32 and bf16 on a processor, one pass over the
/// keys. It has neither a soft cap nor hidden first keys.
namespace motet::fused {

/// The fused kernel by the vectors of an instruction set. An engine, where there is one, makes the
/// products of bf16.
Kernel kernel(std::string_view name, InstructionSet set, const MatrixEngine* engine = nullptr);

/// As Kernel::backward: nothing of queries by keys is kept, scores are computed again.
RowGradients backward(const RowArguments& arguments, const RowResult& result,
                      const RowResult& gradient, InstructionSet set);

}  // namespace motet::fused
