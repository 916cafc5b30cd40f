#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "finetune_options.h"

/// The directory of a training run.
namespace program {

/// A path without what leads nowhere: links, dots, a slash at its end.
fs::path plain_path(const fs::path& path);

/// Files of the tokenizer in `directory`, and of how to generate: copied beside the weights, so
/// that they are a model.
std::vector<fs::path> tokenizer_files(const fs::path& directory);

/// Sees to it that --out is free, or holds this very run where that is to go on, and writes
/// training.json, which says how all came about. Nothing of another run or of a model is ever
/// overwritten unasked. `tokenizer` is where the tokenizer lies. The directory is this program's as
/// long as the lock lives.
std::unique_ptr<motet::DirectoryLock> claim_training(const FinetuneOptions& options,
                                                     const nlohmann::ordered_json& run,
                                                     const fs::path& tokenizer);

}  // namespace program
