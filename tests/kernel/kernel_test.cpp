#include "motet/attention/kernel.h"

#include <gtest/gtest.h>
#include <torch/types.h>

#include <string_view>

#include "attention/cases.h"
#include "kernel/checked.h"
#include "kernel/compute.h"
#include "kernel/target.h"
#include "kernels.h"
#include "temporary.h"

namespace motet {
namespace {

TEST(Kernel, IsOneThatThereIs) {
  EXPECT_EQ(kernel_name(), kernels().front());
  EXPECT_EQ(kernels().back(), "portable");
  const auto error = message([] { use_kernel("abacus"); });
  EXPECT_TRUE(error.starts_with("motet::use_kernel: abacus: no such kernel; there are ")) << error;
  for (const auto kernel : kernels()) {
    EXPECT_NE(error.find(kernel), std::string::npos) << kernel;
  }
  EXPECT_EQ(error.find("emulated"), std::string::npos) << error;  // it is for tests
  EXPECT_EQ(kernel_name(), kernels().front());
}

using EachKernel = ByKernel;

INSTANTIATE_TEST_SUITE_P(Kernels, EachKernel, testing::ValuesIn(tested_kernels()), name_of_kernel);

TEST_P(EachKernel, SaysWhichVectorCodeRunsBesideIt) {
  const auto expected = GetParam() == "portable" ? InstructionSet::kNone
                        : GetParam() == "avx2"   ? InstructionSet::kAvx2
                                                 : InstructionSet::kAvx512;
  EXPECT_EQ(instruction_set(), expected);
  EXPECT_TRUE(has(instruction_set()));
}

/// A choice by rows needs all sets at once, and vectors; otherwise readings make it in two passes.
TEST_P(EachKernel, ChoosesWhereItSeesAllSets) {
  const auto chooses_for = [](int64_t rows, const RowOptions& options, torch::ScalarType dtype) {
    const auto sets = all_keys(rows, 3000);
    const auto in = inputs({"", 1, 8, 4, 8, sets, {3000}, 1}, dtype);
    return chooses(checked("", in.query, in.keys, in.values, sets, {}, options));
  };
  const bool vectors = GetParam() != "portable";
  EXPECT_EQ(chooses_for(600, {}, torch::kFloat32), vectors);
  EXPECT_EQ(chooses_for(600, {}, torch::kBFloat16), vectors);
  EXPECT_FALSE(chooses_for(1, {}, torch::kFloat32));  // its keys are split into parts
  EXPECT_FALSE(chooses_for(600, {}, torch::kFloat64));
  EXPECT_FALSE(chooses_for(600, {.rule = {.cap = 30.0}}, torch::kFloat32));
}

}  // namespace
}  // namespace motet
