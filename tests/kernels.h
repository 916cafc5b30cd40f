#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "motet/attention/kernel.h"

namespace motet {

/// Tests that run with each kernel that this processor has.
class ByKernel : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override { use_kernel(GetParam()); }
  void TearDown() override { use_kernel(kernels().front()); }
};

inline std::string name_of_kernel(const testing::TestParamInfo<std::string_view>& info) {
  return std::string(info.param);
}

}  // namespace motet
