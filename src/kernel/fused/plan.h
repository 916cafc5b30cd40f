#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "kernel/arguments.h"
#include "kernel/fused/unit.h"

/// How the fused kernel's work is cut into units.
namespace motet::fused {

/// Elements of a head from a row on.
struct Elements {
  const void* data;
  int64_t stride;
};

/// In a list of tensors [batch or 1, heads, rows, features] that is read as if laid end to end.
Elements find(const std::vector<torch::Tensor>& list, int64_t batch, int64_t head, int64_t row);

/// The same tensors, copied where a row's features do not lie side by side.
std::vector<torch::Tensor> with_dense_features(const std::vector<torch::Tensor>& list);

/// All rows, in units of at most `lanes`. Which units there are never depends on the number of
/// threads.
std::vector<Unit> units_of(const RowArguments& arguments, const std::vector<torch::Tensor>& keys,
                           const std::vector<torch::Tensor>& values, int64_t lanes = kUnitLanes);

/// As many lanes as units for an engine should have: more than kUnitLanes where that leaves enough
/// units for threads to end together.
int64_t lanes_for_engine(const RowArguments& arguments);

/// Whether there are so few units that threads would idle: their keys are then split into parts.
bool are_few(const RowArguments& arguments);

/// Keys of a part, where those of few units are split: enough parts for threads to share, each long
/// enough to be worth its begin.
int64_t part_keys(const std::vector<Unit>& units);

/// The unit in parts of so many keys at most; the same parts for any number of threads.
std::vector<Unit> split(const Unit& unit, int64_t keys, int64_t element_size);

View view_of(const torch::Tensor& x);
Element element_of(const torch::Tensor& x);
/// Null for an undefined tensor.
float* data_of(const torch::Tensor& x);

}  // namespace motet::fused
