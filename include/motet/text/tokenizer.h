#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace motet {

/// How text is read.
struct EncodeOptions {
  bool added_tokens = true;  ///< recognise added tokens (such as <|endoftext|>) written in the text
};

/// How ids are written.
struct DecodeOptions {
  bool special_tokens = true;  ///< also those that the tokenizer calls special (such as <|im_end|>)
};

/// What text became.
struct Encoding {
  std::vector<int64_t> ids;  ///< tokens
  /// Bytes that have neither a token nor an unknown token: left out, as Hugging Face does.
  int64_t left_out_bytes = 0;
};

/// Byte-pair encoding, equal to Hugging Face `tokenizers`: of bytes (Radford et al. 2019, GPT-2),
/// and of characters with byte fallback as SentencePiece exports it (Kudo & Richardson 2018, arXiv
/// 1808.06226). Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword
/// Units". Copies are cheap and share one vocabulary.
class Tokenizer {
 public:
  /// Reads `directory`/tokenizer.json or, where there is none, vocab.json and merges.txt, cut as
  /// the class that tokenizer_config.json or config.json implies does (GPT-2, Qwen2). Tokens that
  /// only tokenizer_config.json, special_tokens_map.json or added_tokens.json have are added; of
  /// what they say of tokens that tokenizer.json has, only tokenizer_config.json's outweighs it.
  /// Throws Error naming the file and the field that is missing, malformed or not supported.
  /// Truncation and padding that the file may ask for are not applied.
  static Tokenizer load(const std::filesystem::path& directory);

  /// The ids of `text`; adds none of its own (see `usual_prefix`). Threads may share a tokenizer.
  /// Throws Error with the offset of the first byte that is not UTF-8, and where something has no
  /// token and the vocabulary lacks the unknown token.
  Encoding encode(std::string_view text, const EncodeOptions& options = {}) const;

  /// The bytes that `ids` stand for; ids without a token stand for nothing, as in Hugging Face. A
  /// sequence cut inside a character is not UTF-8.
  std::string decode(std::span<const int64_t> ids, const DecodeOptions& options = {}) const;

  /// The bytes of one token as they stand behind others: with the space that `decode` may leave out
  /// where a text begins. Nothing for an id without a token.
  std::string token(int64_t id) const;

  int64_t size() const;  ///< largest id + 1, added tokens included

  /// The id of an added token as written, or of a token of the vocabulary as vocab.json writes it
  /// ("Ġthe" for " the").
  std::optional<int64_t> id(std::string_view token) const;

  /// What the tokenizer's own settings would put first (a BOS): `encode` never does.
  const std::vector<int64_t>& usual_prefix() const;

  struct State;  // what the files say, in tokenizer.cpp

 private:
  explicit Tokenizer(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

}  // namespace motet
