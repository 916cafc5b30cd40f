#pragma once

#include <string_view>
#include <vector>

namespace motet {

/// The kernels that this processor has, the best first: "amx" and "avx512_bf16", which are "avx512"
/// but for products of bf16 (AMX's tiles, or pairs of bf16, which AMD's processors multiply at
/// twice the rate of fp32), "avx512", "avx2", and always "portable", LibTorch's own operations in
/// blocks, which also computes float64 and other devices.
std::vector<std::string_view> kernels();

/// What computes rows in this process, as `run.json` names it: the best kernel, or the one that the
/// environment variable MOTET_KERNEL names. Throws Error where that is none of `kernels()`.
std::string_view kernel_name();

/// From now on, `name` computes rows. Not while rows are being computed. Throws Error where it is
/// none of `kernels()`, nor "amx_emulated": "amx" with its instructions in plain C++, for tests.
void use_kernel(std::string_view name);

}  // namespace motet
