#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "added_tokens.h"
#include "bpe.h"
#include "json_field.h"
#include "normalizer.h"
#include "pre_tokenizer.h"
#include "token_decoder.h"

namespace motet::text {

/// What a tokenizer's files say.
struct Definition {
  Bpe::Vocabulary vocabulary;  ///< tokens as the files write them
  Bpe bpe;
  std::vector<AddedToken> added_tokens;
  Normalizer normalizer;
  PreTokenizer pre_tokenizer;
  TokenDecoder decoder;
  std::vector<int64_t> usual_prefix;

  /// Reads `vocab`: an object of tokens and ids. Throws Error.
  void read_vocabulary(const Field& field);
  /// An added token. `field` is where it stands, for errors. One that is there already gets the new
  /// options. Throws Error where `token.id` is not the one that Hugging Face gives it: that of the
  /// vocabulary, or the next free one.
  void add_token(const Field& field, AddedToken token);
  /// The added token of this content, or null; until another is added.
  const AddedToken* added(const std::string& content) const;
  /// The id of a token, added or of the vocabulary.
  std::optional<int64_t> id(const std::string& content) const;
  /// Once, after all added tokens. Throws Error, which begins with `where`, where two of them are
  /// one when normalised.
  void finish_added_tokens(const std::string& where);

 private:
  std::unordered_map<std::string, std::size_t> added_at_;  // by content, until they are finished
  int64_t added_beyond_ = 0;                               // those that the vocabulary lacks
};

/// Reads Hugging Face's tokenizer.json. Throws Error naming the file, the field and what is wrong.
Definition read_tokenizer_json(const std::filesystem::path& path);

/// Reads vocab.json and merges.txt; how text is cut is not in them. Throws Error.
Definition read_vocabulary_and_merges(const std::filesystem::path& vocabulary,
                                      const std::filesystem::path& merges,
                                      PreTokenizer pre_tokenizer);

/// Reads what a model's directory says of its tokenizer, in whichever files it does. Throws Error
/// naming the file, the field and what is wrong.
Definition read_tokenizer_directory(const std::filesystem::path& directory);

}  // namespace motet::text
