#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace motet {

/// A file or directory that a run was made from.
struct Source {
  std::string name;  ///< of the file or directory
  std::string hash;  ///< SHA-256; of a model see model_hash
};

/// How a run came about: what every `run.json` says, whatever the task.
struct Provenance {
  std::vector<std::string> command;  ///< as typed, word by word
  std::string version;               ///< of the library
  std::string revision;              ///< of the library, see version.h
  Source model;                      ///< what was run
  Source data;                       ///< the text
  int64_t data_tokens = 0;           ///< of the whole text
  std::vector<Source> readings;      ///< those that were made from a file, and its hash
  int64_t seed = 0;                  ///< of random numbers
  std::string dtype;                 ///< "float32" or "bfloat16"
  std::string device;                ///< "cpu" or "cuda"
  std::string kernel;                ///< what computed rows, see kernel.h
  std::string products;              ///< what multiplied weights and rows, see products.h
  int64_t threads = 0;               ///< of LibTorch
};

}  // namespace motet
