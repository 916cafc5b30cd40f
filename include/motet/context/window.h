#pragma once

#include <cstdint>

#include "motet/attention/rows.h"
#include "motet/attention/sets.h"
#include "motet/context/piece_sets.h"

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

/// Sets whose pieces are split into window and bulk. All three have the sets of `meaning`.
struct WindowSets {
  PieceSets meaning;  ///< split
  KeySets all;        ///< every key
  KeySets window;     ///< sets of bulks are empty
  KeySets bulk;       ///< all other sets are empty
};

/// Splits the pieces of `sets`, which are those of `read_sets`. Sets keep their factors, and a bulk
/// has that of its piece.
WindowSets split_window(const KeySets& sets, const Window& window);

/// A row over split sets as a row over whole ones, by the chain rule: merging does not change the
/// row. `meaning` is that of the split sets.
Row join_window(Row row, const PieceSets& meaning);

}  // namespace motet
