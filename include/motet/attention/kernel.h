#pragma once

#include <string_view>

namespace motet {

/// What computes rows in this process, as `run.json` names it: "portable", LibTorch's own
/// operations in blocks.
std::string_view kernel_name();

}  // namespace motet
