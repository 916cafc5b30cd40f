#include "motet/eval/memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstddef>
#include <fstream>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace motet {
namespace {

constexpr std::size_t kLeastReused = 1 << 20;

/// Lends large blocks again that tensors have left. What a tensor's end needs is made before it
/// begins, so that memory can be given back where there is none left.
class ReusedMemory : public c10::Allocator {
 public:
  /// Makes it the allocator of tensors to come; nothing, where that is not LibTorch's own.
  static void install() {
    auto* const system = c10::GetDefaultCPUAllocator();
    if (c10::GetCPUAllocator() == system) {
      in_use = new ReusedMemory(*system);  // it outlives every tensor
      c10::SetCPUAllocator(in_use);
    }
  }

  static ReusedMemory* in_use;

  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes < kLeastReused || bytes > kMost) {
      return system_.allocate(bytes);
    }
    auto* const data = take((bytes + kStep - 1) / kStep * kStep);
    return {data, data, &put_back, c10::Device(c10::DeviceType::CPU)};
  }

  /// Of small blocks, too, which the system makes.
  c10::DeleterFnPtr raw_deleter() const override { return &put_back; }

  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

  /// The most bytes that were held beyond those of tensors, since `measure_anew`.
  std::size_t spare() {
    const std::scoped_lock lock(mutex_);
    return measured_.held - measured_.lent;
  }

  void measure_anew() {
    const std::scoped_lock lock(mutex_);
    measured_ = {lent_bytes_ + kept_bytes_, lent_bytes_};
  }

 private:
  struct Block;
  using Blocks = std::list<Block>;  // kept ones: the one left first in front
  using BySize = std::multimap<std::size_t, Blocks::iterator>;
  using ByData = std::map<void*, Blocks::iterator>;
  struct Block {
    void* data;
    std::size_t bytes;
    BySize::node_type place;  // where it is found while it is kept
    ByData::node_type name;   // and while it is lent
  };
  struct Peaks {
    std::size_t held, lent;
  };

  static constexpr std::size_t kStep = 1 << 12, kMost = std::size_t{1} << 62;

  explicit ReusedMemory(c10::Allocator& system) : system_(system) {}

  static void put_back(void* data) {
    auto& memory = *in_use;
    const std::scoped_lock lock(memory.mutex_);
    const auto found = memory.by_data_.find(data);
    if (found == memory.by_data_.end()) {
      memory.system_.raw_deallocate(data);
      return;
    }
    const auto block = found->second;
    block->name = memory.by_data_.extract(found);
    memory.kept_.splice(memory.kept_.end(), memory.lent_, block);
    memory.by_size_.insert(std::move(block->place));
    memory.lent_bytes_ -= block->bytes;
    memory.kept_bytes_ += block->bytes;
  }

  void* take(std::size_t bytes) {
    const std::scoped_lock lock(mutex_);
    auto found = by_size_.lower_bound(bytes);
    if (found == by_size_.end() || found->first > bytes + bytes / 16) {
      found = make(bytes);
    }
    const auto block = found->second;
    block->place = by_size_.extract(found);
    by_data_.insert(std::move(block->name));
    lent_.splice(lent_.end(), kept_, block);
    kept_bytes_ -= block->bytes;
    lent_bytes_ += block->bytes;
    most_ = std::max(most_, lent_bytes_);
    measured_.lent = std::max(measured_.lent, lent_bytes_);
    return block->data;
  }

  /// A block of the system's, kept.
  BySize::iterator make(std::size_t bytes) {
    keep_at_most(std::max(most_, lent_bytes_ + bytes) - lent_bytes_ - bytes);
    Blocks fresh;
    fresh.push_back({nullptr, bytes, {}, {}});
    const auto block = fresh.begin();
    ByData name;
    name.emplace(nullptr, block);
    block->name = name.extract(name.begin());
    BySize place;
    place.emplace(bytes, block);
    try {
      block->data = system_.raw_allocate(bytes);
    } catch (const c10::Error&) {
      if (kept_.empty()) {
        throw;
      }
      keep_at_most(0);
      block->data = system_.raw_allocate(bytes);
    }
    block->name.key() = block->data;
    kept_.splice(kept_.end(), fresh);
    kept_bytes_ += bytes;
    measured_.held = std::max(measured_.held, lent_bytes_ + kept_bytes_);
    return by_size_.insert(place.extract(place.begin()));
  }

  void keep_at_most(std::size_t bytes) {
    while (kept_bytes_ > bytes) {
      const auto& oldest = kept_.front();  // and so the first of its size
      by_size_.erase(by_size_.lower_bound(oldest.bytes));
      kept_bytes_ -= oldest.bytes;
      system_.raw_deallocate(oldest.data);
      kept_.pop_front();
    }
  }

  c10::Allocator& system_;
  std::mutex mutex_;
  Blocks lent_, kept_;
  BySize by_size_;
  ByData by_data_;
  std::size_t lent_bytes_ = 0, kept_bytes_ = 0, most_ = 0;
  Peaks measured_{};
};

ReusedMemory* ReusedMemory::in_use = nullptr;

}  // namespace

std::optional<int64_t> peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      auto* const reused = ReusedMemory::in_use;
      return std::stoll(line.substr(6)) * 1024 - (reused != nullptr ? reused->spare() : 0);
    }
  }
  return {};
}

bool reset_peak_memory() {
  if (ReusedMemory::in_use != nullptr) {
    ReusedMemory::in_use->measure_anew();
  }
  std::ofstream clear("/proc/self/clear_refs");
  clear << "5" << std::flush;  // proc(5): resets the peak resident set size
  return clear.good();
}

void reuse_freed_memory() {
  static std::once_flag once;
  std::call_once(once, [] {
#ifdef __GLIBC__
    // A large block's memory is its own, and goes when it goes. Fixed: else both grow with what is
    // freed.
    mallopt(M_MMAP_THRESHOLD, kLeastReused);
    mallopt(M_TRIM_THRESHOLD, 1 << 26);
#endif
    ReusedMemory::install();
  });
}

}  // namespace motet
