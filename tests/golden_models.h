#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "motet/model/weights.h"

/// The tiny models of tests/golden, and something for them to read.
namespace motet {

using Tokens = std::vector<int64_t>;

/// Tokens of their vocabulary of 40, the same every time.
inline Tokens some_tokens(int64_t count, int64_t start = 3) {
  Tokens tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back((start + 7 * i + i * i) % 40);
  return tokens;
}

inline std::shared_ptr<Decoder> golden(const std::string& name, torch::ScalarType dtype) {
  return load_model(std::filesystem::path(MOTET_GOLDEN) / name, {.dtype = dtype});
}

}  // namespace motet
