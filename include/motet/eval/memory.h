#pragma once

#include <cstdint>
#include <optional>

namespace motet {

/// The largest amount of memory that this process has held resident, in bytes, since
/// `reset_peak_memory`. Nothing where the system does not tell, or does not let it be reset.
std::optional<int64_t> peak_memory();
/// Begins to measure peak_memory anew. False where the system does not let it.
bool reset_peak_memory();

/// Keeps the memory that tensors of a megabyte and more leave on the CPU for the next ones, in the
/// whole process from here on; the system would clear each page anew. What is kept and what tensors
/// hold are together never more than what tensors held at some moment, so no peak rises; the
/// tensors of a training's step leave no gaps between them. The programs begin with it.
void reuse_freed_memory();

}  // namespace motet
