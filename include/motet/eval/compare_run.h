#pragma once

#include <cstdint>
#include <vector>

#include "motet/eval/compare.h"
#include "motet/eval/provenance.h"

namespace motet {

/// Everything that a run of `compare` leaves behind. Tables, pictures and pages are made from it.
struct CompareRun {
  static constexpr int64_t kSchema = 3;  ///< the version of the document, see json.h
  static constexpr const char* kProgram = "motet-compare";  ///< whose document it is

  Provenance provenance;                 ///< how it came about
  CompareOptions options;                ///< the configuration
  std::vector<LeftOut> left_out;         ///< modes that could not be
  std::vector<CompareRow> segment_rows;  ///< of each segment that is done, each mode

  /// Whether all segments are there: false while it runs, and after an interruption.
  bool complete() const;
  /// Segments of the file that are done, rising.
  std::vector<int64_t> segments_done() const;
};

}  // namespace motet
