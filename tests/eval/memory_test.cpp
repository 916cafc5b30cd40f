#include "motet/eval/memory.h"

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <torch/types.h>

#include <fstream>
#include <string>
#include <thread>
#include <vector>

namespace motet {
namespace {

constexpr int64_t kMegabyte = 1 << 20;

/// Of as many megabytes, each page touched.
torch::Tensor tensor_of(int64_t megabytes) {
  return torch::ones({megabytes * kMegabyte}, torch::kUInt8);
}

/// What the system says, in megabytes: VmHWM, all that was resident at most; VmSize, all addresses.
int64_t megabytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(name + ":")) {
      return std::stoll(line.substr(name.size() + 1)) / 1024;
    }
  }
  return -1;
}

/// This process may have no more addresses than now and so many megabytes, while this lives.
class AddressLimit {
 public:
  explicit AddressLimit(int64_t more) {
    ::getrlimit(RLIMIT_AS, &before_);
    const rlimit limit{static_cast<rlim_t>((megabytes("VmSize") + more) * kMegabyte),
                       before_.rlim_max};
    ::setrlimit(RLIMIT_AS, &limit);
  }
  ~AddressLimit() { ::setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
};

class ReusedMemory : public testing::Test {
 protected:
  void SetUp() override {
    early_ = tensor_of(2);  // LibTorch's own, where this test is the first
    reuse_freed_memory();
    reuse_freed_memory();  // again is nothing new
    ASSERT_TRUE(reset_peak_memory());
  }

  torch::Tensor early_;
};

TEST_F(ReusedMemory, GoesToTheNextTensorOfAboutItsSize) {
  const auto* const first = tensor_of(17).data_ptr();
  EXPECT_EQ(tensor_of(16).data_ptr(), first);
  const auto kept = tensor_of(16);
  EXPECT_EQ(kept.data_ptr(), first);
  EXPECT_NE(tensor_of(16).data_ptr(), first);
  EXPECT_EQ(kept.sum().item<int64_t>(), 16 * kMegabyte);
}

TEST_F(ReusedMemory, IsNeverMoreThanTensorsHeldAtOnce) {
  const auto before = megabytes("VmHWM");
  for (const int64_t size : {400, 250, 160, 120, 360, 200}) {
    tensor_of(size);
  }
  EXPECT_LT(megabytes("VmHWM") - before, 400 + 8);
  const auto a = tensor_of(250), b = tensor_of(140);
  EXPECT_LT(megabytes("VmHWM") - before, 400 + 8);
}

TEST_F(ReusedMemory, IsNotCountedWhereNoTensorNeedsIt) {
  const auto before = peak_memory().value();
  const auto grown = [&] { return (peak_memory().value() - before) / kMegabyte; };
  tensor_of(300);
  EXPECT_NEAR(grown(), 300, 8);
  ASSERT_TRUE(reset_peak_memory());
  EXPECT_NEAR(grown(), 0, 8);
  tensor_of(100);
  EXPECT_NEAR(grown(), 100, 8);
}

TEST_F(ReusedMemory, IsGivenBackWhereTheSystemHasNoMore) {
  tensor_of(1000);
  tensor_of(300);  // 700 are left to others
  const AddressLimit limit(200);
  EXPECT_EQ(tensor_of(350).numel(), 350 * kMegabyte);
  EXPECT_THROW(tensor_of(900), c10::Error);
  EXPECT_EQ(tensor_of(16).numel(), 16 * kMegabyte);
}

TEST_F(ReusedMemory, ServesTensorsThatGrow) {
  auto grown = torch::ones({kMegabyte / 8});
  grown.resize_({kMegabyte});
  EXPECT_EQ(grown.slice(0, 0, kMegabyte / 8).sum().item<float>(), kMegabyte / 8);
  grown.resize_({2 * kMegabyte});
  EXPECT_EQ(grown.slice(0, 0, kMegabyte / 8).sum().item<float>(), kMegabyte / 8);
}

/// As oneDNN's scratch has them.
TEST_F(ReusedMemory, ServesRawBlocks) {
  auto* const allocator = c10::GetCPUAllocator();
  auto* const block = allocator->raw_allocate(3 * kMegabyte);
  allocator->raw_deallocate(block);
  EXPECT_EQ(allocator->raw_allocate(3 * kMegabyte), block);
  allocator->raw_deallocate(block);
  auto* const small = static_cast<char*>(allocator->raw_allocate(64));
  small[63] = 1;
  allocator->raw_deallocate(small);
  EXPECT_NE(tensor_of(3).data_ptr(), small);
}

TEST_F(ReusedMemory, ServesThreadsAtOnce) {
  std::vector<int64_t> sums(4);
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    threads.emplace_back([&sum = sums[i], i] {
      for (int64_t turn = 0; turn < 50; ++turn) {
        sum += torch::full({(1 + turn % 3) * kMegabyte}, static_cast<int64_t>(i), torch::kUInt8)
                   .sum()
                   .item<int64_t>();
      }
    });
  }
  for (auto& thread : threads) {
    thread.join();
  }
  for (std::size_t i = 0; i < sums.size(); ++i) {
    EXPECT_EQ(sums[i], static_cast<int64_t>(i) * 99 * kMegabyte);
  }
}

}  // namespace
}  // namespace motet
