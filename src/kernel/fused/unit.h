#pragma once

#include <cstdint>
#include <vector>

#include "kernel/fused/matrix_engine.h"
#include "kernel/set_choice.h"
#include "kernel/target.h"

/// One unit of work of the fused kernel, in plain numbers and pointers: what `plan.cpp` plans, and
/// `rows.cpp` and `gradients.cpp`, compiled for several instruction sets, compute.
namespace motet::fused {

enum class Element { kFloat32, kBFloat16 };

/// The elements of one tensor [batch, heads, rows, features]; strides in elements.
struct View {
  const void* data = nullptr;
  int64_t batch = 0, head = 0, row = 0, feature = 0;
};

/// What all units of one call share. Statistics are contiguous [batch, heads, rows(, sets(, top))],
/// in fp32; null where they are not wanted.
struct Job {
  Element element = Element::kFloat32;
  int64_t heads = 0, rows = 0, sets = 0;
  int64_t features = 0, value_features = 0;  // value_features 0: no out is wanted
  double scale = 1;
  int64_t top = 0;  // largest scores that are kept of each set
  SetChoice choice;
  const MatrixEngine* engine = nullptr;  // that multiplies; null: vectors do
  View query;
  const float* log_weight = nullptr;  // [batch, heads, rows, sets]
  const float* threshold = nullptr;   // [batch, heads, rows]
  void* out = nullptr;                // features contiguous
  Element out_element = Element::kFloat32;
  int64_t out_batch = 0, out_head = 0, out_row = 0;
  float* lse = nullptr;
  float* entropy = nullptr;
  float* set_lse = nullptr;
  float* set_entropy = nullptr;
  float* set_top = nullptr;
  float* chosen = nullptr;          // log weights that `choice` made, [batch, heads, rows, sets]
  const int64_t* budget = nullptr;  // k of each row, 0 where it sees no more keys than that
  bool counts_first = true;         // KeyBudget's
  float* top_mass = nullptr;        // [batch, heads, rows]
  float* top_threshold = nullptr;   // [batch, heads, rows]
};

/// The keys of one span that a unit's rows see, and their values.
struct UnitSpan {
  int64_t set = 0;
  double factor = 1;
  int64_t count = 0;          // of keys
  int64_t seen_by_first = 0;  // how many of them the unit's first row sees: bounded by 0 and count
  int64_t more_each_row = 0;  // and how many more each row after it: 1 where causal
  int64_t first_key = 0;      // of all keys
  const void* keys = nullptr;
  int64_t key_stride = 0;
  const void* values = nullptr;
  int64_t value_stride = 0;
  float* key_gradient = nullptr;  // rows of GradientJob's strides, added to
  float* value_gradient = nullptr;
};

/// At most so many lanes (batch, head, row) in a unit; they share a block of keys while it is
/// cached. For an engine, which wants keys and values laid out anew, up to four times as many share
/// that work.
constexpr int64_t kUnitLanes = 128, kMostUnitLanes = 512;

/// Some rows of query heads, of some batches, that share keys. Every row sees the same spans, which
/// are in the order of their sets.
struct Unit {
  int64_t first_row = 0, rows = 0;
  int64_t first_batch = 0, batches = 1;
  int64_t first_head = 0, heads = 1, kv_head = 0;
  std::vector<UnitSpan> spans;
  int64_t part = 0;  // which part of the keys, where they are split
  double cost = 0;   // in pairs of rows and keys
};

/// What the gradients of a Job's rows need beside it, whose results are those of the forward pass.
/// Contiguous as they are.
struct GradientJob {
  View out;                          // the gradient of out; no data: none
  const float* constant = nullptr;   // d_lse - d_out.out - d_mass top_mass, [batch, heads, rows]
  const float* d_entropy = nullptr;  // [batch, heads, rows]
  const float* d_mass = nullptr;     // of top_mass, [batch, heads, rows]
  bool of_sets = false;              // whether one of the next two is there
  const float* d_set_lse = nullptr;  // [batch, heads, rows, sets]
  const float* d_set_entropy = nullptr;  // [batch, heads, rows, sets]
  float* d_query = nullptr;              // [batch, heads, rows, features]
  float* d_log_weight = nullptr;         // [batch, heads, rows, sets], added to
  int64_t stride = 0, value_stride = 0;  // of a row of key and value gradients
};

/// Computes a unit and writes its results.
using RunUnit = void (*)(const Job& job, const Unit& unit);

/// Computes a unit's gradients; adds to those of its keys and values, which no other unit may touch
/// at the same time.
using RunGradients = void (*)(const Job& job, const GradientJob& gradient, const Unit& unit);

/// Rows by the vectors of an instruction set.
RunUnit run_unit(InstructionSet set);

/// Gradients by the vectors of an instruction set.
struct GradientCode {
  RunGradients run;
  int64_t (*stride)(int64_t features);  // of a row of key or value gradients, in floats
};
GradientCode gradient_code(InstructionSet set);

}  // namespace motet::fused
