#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "motet/eval/compare.h"

namespace motet {

/// A file or directory that a run was made from.
struct Source {
  std::string name;  ///< of the file or directory
  std::string hash;  ///< SHA-256; of a model see model_hash
};

/// Everything that a run of `compare` leaves behind. Tables, pictures and pages are made from it.
struct Run {
  static constexpr int64_t kSchema = 3;  ///< the version of the document, see json.h

  std::vector<std::string> command;      ///< as typed, word by word
  std::string version;                   ///< of the library
  std::string revision;                  ///< of the library, see version.h
  Source model;                          ///< what was run
  Source data;                           ///< the text
  int64_t data_tokens = 0;               ///< of the whole text
  CompareOptions options;                ///< the configuration
  int64_t seed = 0;                      ///< of random numbers
  std::string dtype;                     ///< "float32" or "bfloat16"
  std::string device;                    ///< "cpu" or "cuda"
  std::string kernel;                    ///< what computed rows, see kernel.h
  int64_t threads = 0;                   ///< of LibTorch
  std::vector<LeftOut> left_out;         ///< modes that could not be
  std::vector<CompareRow> segment_rows;  ///< of each segment that is done, each mode

  /// Whether all segments are there: false while it runs, and after an interruption.
  bool complete() const;
  /// Segments of the file that are done, rising.
  std::vector<int64_t> segments_done() const;
};

}  // namespace motet
