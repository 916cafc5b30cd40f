#pragma once

#include <torch/types.h>

#include <cstddef>
#include <cstdint>

namespace motet {

/// Where a row of a list of tensors, [batch, heads, rows, features] each, lies.
struct ListPlace {
  std::size_t tensor;  // of the list
  int64_t row;         // of that tensor
};

/// The place of a row where the list is read as if laid end to end; tensors without rows are passed
/// over. The list has more rows than `row`.
inline ListPlace place_in(torch::TensorList list, int64_t row) {
  std::size_t tensor = 0;
  while (row >= list[tensor].size(2)) {
    row -= list[tensor++].size(2);
  }
  return {tensor, row};
}

}  // namespace motet
