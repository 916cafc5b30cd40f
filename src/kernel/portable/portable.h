#pragma once

#include "kernel/arguments.h"

/// Rows over sets of keys from LibTorch's own operations: any device, any dtype, any rule from q.k
/// to a score, one block of rows by keys at a time.
namespace motet::portable {

RowResult forward(const RowArguments& arguments);

/// Gradients of a loss for the inputs of `forward`, from its `result` and the gradients of the loss
/// for each of that result's tensors (undefined where there is none). Blocks of scores are computed
/// again, none is kept.
RowGradients backward(const RowArguments& arguments, const RowResult& result,
                      const RowResult& gradient);

}  // namespace motet::portable
