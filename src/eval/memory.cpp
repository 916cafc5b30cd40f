#include "motet/eval/memory.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <fstream>
#include <list>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>

#ifdef __GLIBC__
#include <malloc.h>
#endif

namespace motet {
namespace {

/// Lends large blocks again that tensors have left.
class ReusedMemory : public c10::Allocator {
 public:
  static ReusedMemory* in_use;

  explicit ReusedMemory(c10::Allocator& system) : system_(system) {}

  c10::DataPtr allocate(std::size_t bytes) override {
    if (bytes < kLeast) {
      return system_.allocate(bytes);
    }
    auto* const block = take((bytes + kStep - 1) / kStep * kStep);
    return {block, block, &put_back, c10::Device(c10::DeviceType::CPU)};
  }

  /// Of small blocks, too.
  c10::DeleterFnPtr raw_deleter() const override { return &put_back; }

  void copy_data(void* to, const void* from, std::size_t bytes) const override {
    default_copy_data(to, from, bytes);
  }

 private:
  struct Block {
    void* data;
    std::size_t bytes;
  };
  using Kept = std::list<Block>;  // the one left first in front

  static constexpr std::size_t kLeast = 1 << 20, kStep = 1 << 12;

  static void put_back(void* data) {
    auto& memory = *in_use;
    std::unique_lock lock(memory.mutex_);
    const auto found = memory.lent_.find(data);
    if (found == memory.lent_.end()) {
      lock.unlock();
      memory.system_.raw_deallocate(data);
      return;
    }
    const auto bytes = found->second;
    memory.lent_.erase(found);
    memory.lent_bytes_ -= bytes;
    memory.kept_bytes_ += bytes;
    memory.by_bytes_.emplace(bytes, memory.kept_.insert(memory.kept_.end(), {data, bytes}));
  }

  void* take(std::size_t bytes) {
    const std::scoped_lock lock(mutex_);
    Block block{nullptr, bytes};
    const auto found = by_bytes_.lower_bound(bytes);
    if (found != by_bytes_.end() && found->first <= bytes + bytes / 16) {
      block = *found->second;
      kept_.erase(found->second);
      by_bytes_.erase(found);
      kept_bytes_ -= block.bytes;
    } else {
      const auto most = std::max(most_, lent_bytes_ + bytes);
      keep_at_most(most - lent_bytes_ - bytes);
      block.data = system_.raw_allocate(bytes);
    }
    lent_.emplace(block.data, block.bytes);
    lent_bytes_ += block.bytes;
    most_ = std::max(most_, lent_bytes_);
    return block.data;
  }

  void keep_at_most(std::size_t bytes) {
    while (kept_bytes_ > bytes) {
      const auto oldest = kept_.begin();
      auto [one, last] = by_bytes_.equal_range(oldest->bytes);
      by_bytes_.erase(std::find_if(one, last, [&](const auto& at) { return at.second == oldest; }));
      kept_bytes_ -= oldest->bytes;
      system_.raw_deallocate(oldest->data);
      kept_.pop_front();
    }
  }

  c10::Allocator& system_;
  std::mutex mutex_;
  std::unordered_map<void*, std::size_t> lent_;
  Kept kept_;
  std::multimap<std::size_t, Kept::iterator> by_bytes_;
  std::size_t lent_bytes_ = 0, kept_bytes_ = 0, most_ = 0;
};

ReusedMemory* ReusedMemory::in_use = nullptr;

}  // namespace

std::optional<int64_t> peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) {
      return std::stoll(line.substr(6)) * 1024;
    }
  }
  return {};
}

bool reset_peak_memory() {
  std::ofstream clear("/proc/self/clear_refs");
  clear << "5" << std::flush;  // proc(5): resets the peak resident set size
  return clear.good();
}

void reuse_freed_memory() {
  static std::once_flag once;
  std::call_once(once, [] {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 1 << 20);  // a large block's memory is its own, and goes when it goes
    mallopt(M_TRIM_THRESHOLD, 1 << 26);  // fixed: else both grow with what is freed
#endif
    // It outlives every tensor.
    ReusedMemory::in_use = new ReusedMemory(*c10::GetDefaultCPUAllocator());
    c10::SetCPUAllocator(ReusedMemory::in_use);
  });
}

}  // namespace motet
