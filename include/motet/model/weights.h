#pragma once

#include <torch/types.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "motet/model/decoder.h"

namespace motet {

/// What becomes of a model's parameters.
struct LoadOptions {
  /// As stored, unless given; where a model is stored in several, the one that holds them all: BF16
  /// and F32 become F32, and so do BF16 and F16. Parameters that keep the stored dtype stay in the
  /// mapped file until they are written to.
  std::optional<torch::ScalarType> dtype;
  torch::Device device = torch::kCPU;  ///< where they live
  /// Names of tensors in the file that are no parameters and may be left out, such as the head of a
  /// reward model; `*` stands for anything.
  std::vector<std::string> ignore_tensors = {};
};

/// Loads a model directory in Hugging Face format: config.json, and model.safetensors or its shards
/// (F64, F32, F16, BF16), with or without the family's prefix before names, and with either or both
/// of two tied tensors. Throws Error where it is missing, damaged or quantised, for an unknown
/// family, for a tensor that is missing, left over or of another shape than the configuration says,
/// and where nothing is there to be ignored.
std::shared_ptr<Decoder> load_model(const std::filesystem::path& directory,
                                    const LoadOptions& options = {});

/// Writes config.json and model.safetensors, in Hugging Face format and the model's dtype, into
/// `directory`, which is made where it is missing. Each file appears whole or not at all. Tokenizer
/// files are not the model's: copy them. Throws Error.
void save_model(const Decoder& model, const std::filesystem::path& directory);

/// SHA-256 over config.json and the weight files, in order of their names: what a run was made
/// with.
std::string model_hash(const std::filesystem::path& directory);

}  // namespace motet
