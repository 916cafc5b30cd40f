#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "motet/eval/compare.h"

namespace motet {

/// A file or directory that a run was made from.
struct Source {
  std::string name;
  std::string hash;  ///< SHA-256; of a model see model_hash
};

/// Everything that a run of `compare` leaves behind. Tables, pictures and pages are made from it.
struct Run {
  static constexpr int64_t kSchema = 3;

  std::vector<std::string> command;
  std::string version, revision;
  Source model, data;
  int64_t data_tokens = 0;
  CompareOptions options;
  int64_t seed = 0;
  std::string dtype, device, kernel;
  int64_t threads = 0;
  std::vector<LeftOut> left_out;
  std::vector<CompareRow> segment_rows;

  /// Whether all segments are there: false while it runs, and after an interruption.
  bool complete() const;
  /// Segments of the file that are done, rising.
  std::vector<int64_t> segments_done() const;
};

}  // namespace motet
