#include "motet/eval/memory.h"

#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <torch/types.h>

namespace motet {
namespace {

constexpr int64_t kMegabyte = 1 << 20;

/// Of as many megabytes, each page touched.
torch::Tensor tensor_of(int64_t megabytes) {
  return torch::ones({megabytes * kMegabyte}, torch::kUInt8);
}

/// What a call adds to the memory that this process holds, at most, in megabytes.
template <class Call>
int64_t growth(Call call) {
  const auto before = peak_memory().value();
  call();
  return (peak_memory().value() - before) / kMegabyte;
}

class ReusedMemory : public testing::Test {
 protected:
  void SetUp() override {
    reuse_freed_memory();
    reuse_freed_memory();  // again is nothing new
    ASSERT_TRUE(reset_peak_memory());
  }
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
  const auto sizes = [] {
    for (const int64_t megabytes : {400, 250, 160, 120, 360, 200}) {
      tensor_of(megabytes);
    }
  };
  EXPECT_LT(growth(sizes), 400 + 8);
  EXPECT_LT(growth([] { const auto a = tensor_of(250), b = tensor_of(140); }), 8);
}

TEST_F(ReusedMemory, ServesTensorsThatGrowAndRawBlocks) {
  auto grown = torch::ones({kMegabyte / 8});
  grown.resize_({kMegabyte});
  EXPECT_EQ(grown.slice(0, 0, kMegabyte / 8).sum().item<float>(), kMegabyte / 8);
  grown.resize_({4});
  auto* const raw = c10::GetCPUAllocator()->raw_allocate(2 * kMegabyte);
  c10::GetCPUAllocator()->raw_deallocate(raw);
  auto* const small = c10::GetCPUAllocator()->raw_allocate(64);
  c10::GetCPUAllocator()->raw_deallocate(small);
}

}  // namespace
}  // namespace motet
