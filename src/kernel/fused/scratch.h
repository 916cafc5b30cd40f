#pragma once

#include <hwy/aligned_allocator.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace motet::fused {

/// Memory of one thread, kept between units. What a unit takes lies where it is until the next unit
/// begins.
class Scratch {
 public:
  /// Takes everything back, to be had in one piece from now on.
  void reset() {
    if (pieces_.size() > 1) {
      int64_t bytes = 0;
      for (const auto& piece : pieces_) {
        bytes += piece.bytes;
      }
      pieces_.clear();
      add(bytes);
    }
    used_ = 0;
  }

  /// Room for `count` of T, at the begin of a cache line.
  template <class T = float>
  T* take(int64_t count) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= kLine);
    const auto bytes = (count * static_cast<int64_t>(sizeof(T)) + kLine - 1) / kLine * kLine;
    if (pieces_.empty() || used_ + bytes > pieces_.back().bytes) {
      add(std::max(bytes, kLeastPiece));
      used_ = 0;
    }
    auto* const room = pieces_.back().memory.get() + used_;
    used_ += bytes;
    return reinterpret_cast<T*>(room);
  }

 private:
  static constexpr int64_t kLine = 64, kLeastPiece = 1 << 18;  // bytes

  struct Piece {
    hwy::AlignedFreeUniquePtr<uint8_t[]> memory;
    int64_t bytes;
  };

  void add(int64_t bytes) {
    auto memory = hwy::AllocateAligned<uint8_t>(bytes);
    if (memory == nullptr) {
      throw std::bad_alloc();
    }
    pieces_.push_back({std::move(memory), bytes});
  }

  std::vector<Piece> pieces_;
  int64_t used_ = 0;  // bytes of the last piece
};

}  // namespace motet::fused
