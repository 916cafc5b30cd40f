#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "motet/attention/kernel.h"

namespace motet {

/// Kernels that the tests run: those of this processor, and AMX's with its instructions in plain
/// C++.
inline std::vector<std::string_view> tested_kernels() {
  auto names = kernels();
  if (std::find(names.begin(), names.end(), "avx512") != names.end()) {
    names.push_back("amx_emulated");
  }
  return names;
}

/// Tests that run with each of them.
class ByKernel : public testing::TestWithParam<std::string_view> {
 protected:
  void SetUp() override { use_kernel(GetParam()); }
  void TearDown() override { use_kernel(kernels().front()); }
};

inline std::string name_of_kernel(const testing::TestParamInfo<std::string_view>& info) {
  return std::string(info.param);
}

}  // namespace motet
