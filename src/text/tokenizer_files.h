#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <unordered_map>
#include <vector>

#include "added_tokens.h"
#include "bpe.h"
#include "pre_tokenizer.h"

namespace motet::text {

/// What a tokenizer's files say.
struct Definition {
  std::unordered_map<std::string, int64_t> vocabulary;  ///< in the symbols of byte_level.h
  Bpe bpe;
  std::vector<AddedToken> added_tokens;
  bool nfc = false;  ///< normalise the text to form C first
  std::vector<Stage> stages;
  std::vector<int64_t> usual_prefix;
};

/// Reads Hugging Face's tokenizer.json. Throws Error naming the file, the field and what is wrong.
Definition read_tokenizer_json(const std::filesystem::path& path);

/// Reads GPT-2's two files; its pattern and its one added token are not in them, but known.
Definition read_gpt2_files(const std::filesystem::path& vocabulary,
                           const std::filesystem::path& merges);

}  // namespace motet::text
