#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace motet {

/// What makes the products of weights and rows in this process, `FP32/BF16`: those of fp32 are
/// `libtorch`'s (MKL's, as a rule) or `onednn`'s, both in LibTorch; those of bf16 are `native`, or
/// `wide`: fp32 ones of the same numbers. Bits depend on it, so it follows from the processor
/// alone: see docs/performance.md for the rule and for what justifies it. The environment variable
/// MOTET_PRODUCTS names another. Products of a few rows are motet's own where it has vectors for
/// the processor, whatever is named here. Throws Error where MOTET_PRODUCTS is none of
/// `all_products()`.
std::string_view products_name();

/// Those that this LibTorch has.
std::vector<std::string_view> all_products();

/// From now on, `name` makes them. Not while there are any at work. Throws Error where it is none
/// of `all_products()`.
void use_products(std::string_view name);

/// What run.json says: the name, and the version of the rule that chooses, with what motet's own
/// products do.
std::string products_provenance();

}  // namespace motet
