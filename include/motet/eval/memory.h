#pragma once

#include <cstdint>
#include <optional>

namespace motet {

/// The largest amount of memory that this process has held resident, in bytes, since
/// `reset_peak_memory`. Nothing where the system does not tell, or does not let it be reset.
std::optional<int64_t> peak_memory();
/// Begins to measure peak_memory anew. False where the system does not let it.
bool reset_peak_memory();

/// Has tensors of a megabyte and more give their memory back to the system when they go, in the
/// whole process from here on. glibc would keep it for others, and in training, where tensors of
/// many sizes come and go, the gaps between those add up. False where the allocator has no such
/// setting.
bool return_freed_memory();
/// The opposite, for passes without gradients, where tensors of few sizes come and go: up to a
/// gigabyte that tensors leave is kept for the next ones, instead of returned and cleared by the
/// system again. False where the allocator has no such setting.
bool keep_freed_memory();

}  // namespace motet
