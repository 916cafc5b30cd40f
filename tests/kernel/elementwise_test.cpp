#include "kernel/elementwise.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include "kernels.h"
#include "reference/attention.h"

namespace motet {
namespace {

using reference::max_error;

using ElementwiseByKernel = ByKernel;

INSTANTIATE_TEST_SUITE_P(Kernels, ElementwiseByKernel, testing::ValuesIn(kernels()),
                         name_of_kernel);

TEST_P(ElementwiseByKernel, TheStreamHasTheSumOfLibTorch) {
  torch::manual_seed(5);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16, torch::kFloat64}) {
    const auto deep = dtype == torch::kFloat64;
    for (const int64_t width : {37, 3001}) {
      const auto stream = torch::randn({2, 3, width}).to(deep ? dtype : torch::kFloat32);
      const auto added = torch::randn({2, 3, width}).to(dtype);
      const at::NoGradGuard no_grad;
      EXPECT_TRUE(add_to_stream(stream, added).equal(stream + added)) << dtype;
      EXPECT_EQ(add_to_stream(stream, added).scalar_type(), stream.scalar_type());
      const auto strided = added.transpose(0, 1).contiguous().transpose(0, 1);
      EXPECT_TRUE(add_to_stream(stream, strided).equal(stream + added)) << dtype;
    }
  }
  for (const bool first : {true, false}) {
    const auto stream = torch::randn({1, 2, 5}).requires_grad_(first);
    const auto added = torch::randn({1, 2, 5}).requires_grad_(!first);
    add_to_stream(stream, added).sum().backward();
    EXPECT_EQ(max_error((first ? stream : added).grad(), torch::ones({1, 2, 5})), 0);
  }
}

/// Few elements and many; strided, as values have it.
TEST_P(ElementwiseByKernel, CopiedRowsLieWhereTheyAreWanted) {
  torch::manual_seed(5);
  for (const auto dtype : {torch::kFloat32, torch::kBFloat16, torch::kFloat64}) {
    for (const int64_t rows : {1, 3, 2000}) {
      const auto from = torch::randn({2, rows, 3, 5}).to(dtype).transpose(1, 2);
      const auto to = torch::zeros({2, 3, rows + 4, 5}, dtype);
      copy_rows(from, to, 2);
      EXPECT_TRUE(to.narrow(2, 2, rows).equal(from)) << rows;
      EXPECT_EQ(to.narrow(2, 0, 2).abs().max().item<double>(), 0) << rows;
      EXPECT_EQ(to.narrow(2, rows + 2, 2).abs().max().item<double>(), 0) << rows;
    }
  }
  const auto from = torch::randn({1, 1, 2, 3}, torch::requires_grad());
  const auto to = torch::zeros({1, 1, 4, 3});
  copy_rows(from, to, 1);
  to.sum().backward();
  EXPECT_EQ(max_error(from.grad(), torch::ones({1, 1, 2, 3})), 0);
}

}  // namespace
}  // namespace motet
