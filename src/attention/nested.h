#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace motet {

/// A tensor of two dimensions, such as [layers, heads], as nested vectors.
template <class T = double>
std::vector<std::vector<T>> nested(const torch::Tensor& x) {
  std::vector<std::vector<T>> rows;
  for (const auto& one : x.unbind(0)) {
    const auto row = one.to(c10::CppTypeToScalarType<T>::value).contiguous();
    rows.emplace_back(row.template data_ptr<T>(), row.template data_ptr<T>() + row.numel());
  }
  return rows;
}

}  // namespace motet
