#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "motet/attention/sets.h"

namespace motet {

/// A shape of rows over sets of keys, with a name for the test's.
struct Shape {
  std::string name;
  int64_t batch, heads, kv_heads, features;
  KeySets sets;
  std::vector<int64_t> tensors;  // keys in each tensor of the list
  int64_t key_batch;
};

inline std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.name; }

/// A prefix of 3, pieces of 5, 1 and 9, and a query of 6 with two earlier tokens of its own.
inline std::vector<Span> reading_spans() {
  return {{.set = 0, .rows = 6, .first_key = 0, .keys = 3},
          {.set = 1, .rows = 6, .first_key = 3, .keys = 5},
          {.set = 2, .rows = 6, .first_key = 8, .keys = 1},
          {.set = 3, .rows = 6, .first_key = 9, .keys = 9},
          {.set = 4, .rows = 6, .first_key = 18, .keys = 8, .causal = true}};
}

inline std::vector<Shape> shapes() {
  return {
      {"OneKey", 1, 1, 1, 8, all_keys(1, 1), {1}, 1},
      {"Causal", 2, 4, 4, 16, causal_keys(13, 13), {13}, 2},
      {"CausalGrouped", 2, 6, 2, 8, causal_keys(7, 11), {11}, 2},
      {"ManyBlocks", 1, 2, 1, 8, causal_keys(130, 2500), {2500}, 1},
      {"Reading", 1, 6, 2, 8, {5, 6, 26, reading_spans()}, {3, 5, 1, 9, 8}, 1},
      {"ReadingBatch", 3, 4, 2, 8, {5, 6, 26, reading_spans()}, {26}, 1},
      {"EmptySetAndRow",
       1,
       2,
       2,
       8,
       {3,
        4,
        5,
        {{.set = 0, .first_row = 1, .rows = 3, .keys = 2},
         {.set = 2, .first_row = 2, .rows = 2, .first_key = 2, .keys = 3, .causal = true}}},
       {2, 3},
       1},
      {"PackedRow",
       1,
       4,
       2,
       8,
       {2,
        12,
        12,
        {{.set = 1, .rows = 2, .keys = 2, .causal = true},
         {.set = 0, .first_row = 2, .rows = 10, .keys = 2},
         {.set = 1, .first_row = 2, .rows = 7, .first_key = 2, .keys = 7, .causal = true},
         {.set = 1, .first_row = 9, .rows = 3, .first_key = 9, .keys = 3, .causal = true}}},
       {12},
       1},
      {"WideHeads", 1, 2, 1, 72, causal_keys(70, 300), {300}, 1},
      {"LongSpans",
       1,
       3,
       1,
       64,
       {3,
        50,
        700,
        {{.set = 0, .rows = 50, .keys = 250},
         {.set = 1, .rows = 50, .first_key = 250, .keys = 400},
         {.set = 2, .rows = 50, .first_key = 650, .keys = 50, .causal = true}}},
       {250, 400, 50},
       1},
      {"OneRow", 1, 9, 3, 64, all_keys(1, 2600), {2600}, 1},
      {"OneLane", 1, 2, 2, 40, all_keys(1, 301), {301}, 1},
      {"TwoLanes", 1, 4, 2, 24, causal_keys(1, 130), {130}, 1},
      {"ThreeLanesOfThreeRows", 1, 2, 2, 16, causal_keys(3, 121), {121}, 1},
      {"FourLanes", 1, 8, 2, 72, all_keys(1, 259), {259}, 1},
      {"FewLanesOfManySets",
       2,
       2,
       1,
       8,
       {4,
        1,
        40,
        {{.set = 0, .rows = 1, .keys = 5},
         {.set = 2, .rows = 1, .first_key = 5, .keys = 1},
         {.set = 3, .rows = 1, .first_key = 6, .keys = 34, .causal = true}}},
       {5, 1, 34},
       1},
      {"ManyRowsOfOneToken", 70, 4, 1, 8, all_keys(1, 130), {130}, 1},
      {"Tempered",
       1,
       2,
       1,
       8,
       KeySets(5, 6, 26, reading_spans()).with_factor(1, 0.5).with_factor(3, 2),
       {26},
       1},
  };
}

}  // namespace motet
