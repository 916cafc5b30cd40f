#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace motet::text {

/// Finds strings by views of them.
struct StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};

/// The merges of pairs of tokens, in one flat table: a search touches one place of memory, where
/// there are half a million.
class MergeTable {
 public:
  struct Merge {
    std::uint64_t pair = kNone;  ///< left << 32 | right
    std::int32_t rank = 0;
    std::int32_t id = 0;
  };

  /// Room for so many.
  void reserve(std::size_t merges);
  /// A pair given again is replaced.
  void insert(int64_t left, int64_t right, int64_t rank, int64_t id);
  /// Null where the two do not merge.
  const Merge* find(int64_t left, int64_t right) const;

 private:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};
  std::size_t place_of(std::uint64_t pair) const;
  void grow(std::size_t slots);

  std::vector<Merge> slots_;  // a power of two, at most half of them taken
  std::size_t count_ = 0;
};

/// Byte-pair encoding of one word: its characters, or its bytes, become symbols, then the
/// neighbours whose merge has the lowest rank are merged, the leftmost first, until no two can be.
class Bpe {
 public:
  using Vocabulary = std::unordered_map<std::string, int64_t, StringHash, std::equal_to<>>;

  /// What encoding writes to: one for each thread.
  struct Space {
    struct Symbol {
      int64_t id, left, right;  // a node of a doubly linked list
    };
    std::vector<Symbol> symbols;
    std::vector<std::int32_t> ids, ranks, merged;  // of a short word
  };

  bool byte_level = true;          ///< words are bytes with stand-ins, not characters; set first
  bool ignore_merges = false;      ///< words that are tokens take their id without merging
  bool fuse_unknown = false;       ///< one unknown token for a run of what has no token
  bool byte_fallback = false;      ///< a character without a token becomes its bytes, as <0x0A>
  std::string unknown_token;       ///< stands for what has no token; empty: that is left out
  std::optional<int64_t> unknown;  ///< its id; nothing where the vocabulary lacks it

  /// Makes room for so many merges.
  void reserve_merges(std::size_t merges) { merges_.reserve(merges); }
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
  int64_t encode(std::string_view word, std::vector<int64_t>& ids, Space& space) const;

 private:
  /// What a word is made of, before merges.
  class Symbols;

  void merge_short(Space& space, std::vector<int64_t>& ids) const;
  void merge_long(Space& space, std::vector<int64_t>& ids) const;
  std::optional<int64_t> character(char32_t point) const;
  void keep_pairs_of(std::string_view token);
  bool may_meet(char32_t left, char32_t right) const;

  MergeTable merges_;
  Vocabulary whole_words_;  // of ignore_merges; as bytes where words are bytes
  std::array<std::optional<int64_t>, 256> byte_ids_{};  // of stand-ins, or of byte fallback
  std::vector<int64_t> characters_;                     // ids of code points up to U+FFFF, or -1
  std::unordered_map<char32_t, int64_t> more_characters_;
  /// A bit for each pair of characters that some merge puts side by side, by a hash: where it is
  /// clear, no merge crosses.
  std::vector<std::uint64_t> pairs_;
};

}  // namespace motet::text
