#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace motet::text {

/// Byte-pair encoding of one word: its bytes become symbols, then the neighbours whose merge has
/// the lowest rank are merged, the leftmost first, until no two can be.
class Bpe {
 public:
  /// An id for each byte that has a token.
  std::array<std::optional<int64_t>, 256> byte_ids{};

  /// Stands for a byte without a token; without it such bytes are left out.
  std::optional<int64_t> unknown;
  bool fuse_unknown = false;  ///< one unknown token for a run of such bytes

  /// Words that are tokens and take their id without merging (ignore_merges), as bytes.
  std::unordered_map<std::string, int64_t> whole_words;

  /// Merges `left` and `right` into `merged`. A lower rank goes first; a pair given again is
  /// replaced.
  void add_merge(int64_t left, int64_t right, int64_t rank, int64_t merged);

  /// Appends the ids of `word`; returns how many bytes were left out.
  int64_t encode(std::string_view word, std::vector<int64_t>& ids) const;

 private:
  struct Merge {
    int64_t rank;
    int64_t id;
  };
  const Merge* find_merge(int64_t left, int64_t right) const;

  std::unordered_map<std::uint64_t, Merge> merges_;  // by left << 32 | right
};

}  // namespace motet::text
