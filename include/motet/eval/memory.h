#pragma once

#include <cstdint>
#include <optional>

namespace motet {

/// The largest amount of memory that this process has held resident, in bytes, since
/// `reset_peak_memory`, less what `reuse_freed_memory` kept meanwhile and no tensor needed. Nothing
/// where the system does not tell, or does not let it be reset.
std::optional<int64_t> peak_memory();
/// Begins to measure peak_memory anew. False where the system does not let it.
bool reset_peak_memory();

/// Keeps the memory that tensors of a megabyte and more leave on the CPU for the next ones, in the
/// whole process from here on; the system would clear each page anew. What is kept and what such
/// tensors hold are together at most a sixteenth more than they held at some moment, and no gaps
/// add up between the tensors of a training's steps. The programs begin with it; to be called
/// before other threads make tensors. An allocator of your own in place of LibTorch's stays, and
/// nothing is kept.
void reuse_freed_memory();

}  // namespace motet
