#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace motet::text {

/// Byte-pair encoding of one word: its characters, or its bytes, become symbols, then the
/// neighbours whose merge has the lowest rank are merged, the leftmost first, until no two can be.
class Bpe {
 public:
  using Vocabulary = std::unordered_map<std::string, int64_t>;

  bool byte_level = true;       ///< words are bytes with stand-ins, not characters; set first
  bool ignore_merges = false;   ///< words that are tokens take their id without merging
  bool fuse_unknown = false;    ///< one unknown token for a run of what has no token
  bool byte_fallback = false;   ///< a character without a token becomes its bytes, as <0x0A>
  std::string unknown_token;    ///< stands for what has no token; empty: that is left out
  std::optional<int64_t> unknown;  ///< its id; nothing where the vocabulary lacks it

  /// Merges `left` and `right`, tokens of `vocabulary`. A lower rank goes first; a pair given again
  /// is replaced. Returns the first token that is not in the vocabulary, if one is not.
  std::optional<std::string> add_merge(std::string_view left, std::string_view right, int64_t rank,
                                       const Vocabulary& vocabulary);

  /// Takes from the vocabulary what words are made of. Once, after all merges.
  void prepare(const Vocabulary& vocabulary);

  /// The bytes of `text`, from its start, that can be encoded by themselves: no merge joins them to
  /// what follows. All of it where words are bytes, or ignore merges.
  std::size_t independent(std::string_view text) const;

  /// Appends the ids of `word`; returns how many bytes were left out. Throws Error where the
  /// unknown token is wanted and the vocabulary lacks it.
  int64_t encode(std::string_view word, std::vector<int64_t>& ids) const;

 private:
  struct Merge {
    int64_t rank;
    int64_t id;
  };
  /// What a word is made of, before merges.
  class Symbols;

  const Merge* find_merge(int64_t left, int64_t right) const;
  std::optional<int64_t> character(char32_t point) const;
  void keep_pairs_of(std::string_view token);
  bool may_meet(char32_t left, char32_t right) const;

  std::unordered_map<std::uint64_t, Merge> merges_;  // by left << 32 | right
  Vocabulary whole_words_;  // of ignore_merges; as bytes where words are bytes
  std::array<std::optional<int64_t>, 256> byte_ids_{};  // of stand-ins, or of byte fallback
  std::vector<int64_t> characters_;                     // ids of code points up to U+FFFF, or -1
  std::unordered_map<char32_t, int64_t> more_characters_;
  /// A bit for each pair of characters that some merge puts side by side, by a hash: where it is
  /// clear, no merge crosses.
  std::vector<std::uint64_t> pairs_;
};

}  // namespace motet::text
