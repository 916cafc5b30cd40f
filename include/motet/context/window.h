#pragma once

#include <cstdint>

#include "motet/attention/rows.h"
#include "motet/attention/sets.h"

namespace motet {

/// The keys of the context that every row reads beside prefix and own keys: the first of every
/// piece, and the last of the last one. The others are the bulk. QAdA, arXiv 2502.09647; see
/// docs/heads.md.
struct Window {
  int64_t first = 16;  ///< keys of every piece
  int64_t last = 128;  ///< keys of the last piece

  /// Throws Error naming the first field out of range.
  void validate() const;
  friend bool operator==(const Window&, const Window&) = default;  ///< field by field
};

/// The bulk of a piece of `length` keys; empty where the window holds them all.
KeyRange bulk_of(const Window& window, int64_t length, bool is_last);

/// Sets whose pieces are split: prefix | window of piece 1 .. P | own | bulk of piece 1 .. P. All
/// three have these 2 P + 2 sets.
struct WindowSets {
  KeySets all;     ///< every key
  KeySets window;  ///< sets of bulks are empty
  KeySets bulk;    ///< all other sets are empty
};

/// Splits the pieces of `sets`, which are prefix | piece 1 .. P | own (see `read_sets`).
WindowSets split_window(const KeySets& sets, const Window& window);

/// A row over split sets as a row over prefix | piece 1 .. P | own, by the chain rule: merging does
/// not change the row.
Row join_window(Row row);

}  // namespace motet
