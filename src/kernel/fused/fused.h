#pragma once

#include "kernel/arguments.h"
#include "kernel/fused/unit.h"

/// Rows over sets of keys by the fused kernel: fp32 and bf16 on a processor, one pass over the
/// keys.
namespace motet::fused {

/// Whether the fused kernel computes these; otherwise `portable` does.
bool supports(const RowArguments& arguments);

/// Whether `forward` can make the choice of `RowArguments::keep`: not where there are so few rows
/// that their keys are split into parts, none of which sees all pieces.
bool chooses(const RowArguments& arguments);

RowResult forward(const RowArguments& arguments, const Variant& variant);

/// As `portable::backward`: nothing of queries by keys is kept, scores are computed again.
RowGradients backward(const RowArguments& arguments, const RowResult& result,
                      const RowResult& gradient, const Variant& variant);

}  // namespace motet::fused
