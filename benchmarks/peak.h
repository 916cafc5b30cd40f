#pragma once

#include <torch/types.h>

#include <cstdint>
#include <string>

namespace bench {

/// What the processor could do at most: multiply-adds on registers alone, on all threads, by the
/// widest instruction that it has for a dtype. For bf16 AMX's tiles, or `vdpbf16ps`, or, where it
/// has neither, what it does in fp32. Compiled for the machine that it is built on.
class Peak {
 public:
  explicit Peak(torch::ScalarType dtype) : dtype_(dtype) {}

  void run() const;        ///< some hundredths of a second
  double flops() const;    ///< of one `run`
  std::string by() const;  ///< the instruction

 private:
  torch::ScalarType dtype_;
};

}  // namespace bench
