#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

/// One unit of work of the fused kernel, in plain numbers and pointers: what `fused.cpp` plans and
/// `fused_unit.cpp`, compiled for several instruction sets, computes.
namespace motet::fused {

enum class Element { kFloat32, kBFloat16 };

/// The elements of one tensor [batch, heads, rows, features]; strides in elements.
struct View {
  const void* data = nullptr;
  int64_t batch = 0, head = 0, row = 0, feature = 0;
};

/// What all units of one call share. Results are contiguous [batch, heads, rows(, sets(, top))], in
/// fp32; null where they are not wanted.
struct Job {
  Element element = Element::kFloat32;
  int64_t heads = 0, rows = 0, sets = 0;
  int64_t features = 0, value_features = 0;  // value_features 0: no out is wanted
  double scale = 1;
  int64_t top = 0;
  View query;
  const float* log_weight = nullptr;  // [batch, heads, rows, sets]
  const float* threshold = nullptr;   // [batch, heads, rows]
  void* out = nullptr;                // in the element type, features contiguous
  int64_t out_batch = 0, out_head = 0, out_row = 0;
  float* lse = nullptr;
  float* entropy = nullptr;
  float* set_lse = nullptr;
  float* set_entropy = nullptr;
  float* set_top = nullptr;
};

/// The keys of one span that a unit's rows see, and their values.
struct UnitSpan {
  int64_t set = 0;
  double factor = 1;
  int64_t seen_by_first = 0;  // how many keys the unit's first row sees
  int64_t more_each_row = 0;  // and how many more each row after it: 1 where causal
  const void* keys = nullptr;
  int64_t key_stride = 0;
  const void* values = nullptr;
  int64_t value_stride = 0;
};

/// The most (batch, head, row) of a unit: they share each block of keys while it is near.
constexpr int64_t kUnitLanes = 128;

/// Some rows of query heads, of some batches, that share keys. Every row sees the same spans, which
/// are in the order of their sets.
struct Unit {
  int64_t first_row = 0, rows = 0;
  int64_t first_batch = 0, batches = 1;
  int64_t first_head = 0, heads = 1;
  std::vector<UnitSpan> spans;
  double cost = 0;  // in pairs of rows and keys
};

/// Computes a unit and writes its results.
using RunUnit = void (*)(const Job& job, const Unit& unit);

/// The kernel for one instruction set.
struct Variant {
  std::string_view name;  // "avx2", "avx512"
  bool supported;         // by this processor
  RunUnit run;
};

/// All that were compiled, the best first.
const std::vector<Variant>& variants();

}  // namespace motet::fused
