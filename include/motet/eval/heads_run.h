#pragma once

#include <cstdint>
#include <vector>

#include "motet/eval/heads.h"
#include "motet/eval/provenance.h"

namespace motet {

/// Everything that motet-heads leaves behind.
struct HeadsRun {
  static constexpr int64_t kSchema = 2;                   ///< the version of the document
  static constexpr const char* kProgram = "motet-heads";  ///< whose document it is

  Provenance provenance;                ///< how it came about
  HeadsOptions options;                 ///< the configuration
  Source calibration;                   ///< the text behind `static`; empty where none was read
  std::vector<HeadsFull> segment_full;  ///< of each segment that was begun
  std::vector<HeadsRow> segment_rows;   ///< of each segment, method and tau that is done

  /// Whether every segment has every method at every tau.
  bool complete() const;
};

}  // namespace motet
