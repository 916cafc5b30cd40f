#pragma once

#include "attention/arguments.h"

namespace motet {

/// Rows by the kernel of this process (see `kernel_name`).
RowResult compute(const RowArguments& arguments);

}  // namespace motet
