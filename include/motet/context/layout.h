#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "motet/attention/sets.h"

namespace motet {

/// Where the tokens of a piece sit. All pieces share one range of positions, as long as the longest
/// of them, but for `kSequential`. L is the longest piece's length, l the piece's own, t a token in
/// it, p the prefix's length.
enum class Positions {
  kSpread,      ///< p + floor(t L / l): PCE, arXiv 2412.16545
  kLeft,        ///< p + t: PCW, arXiv 2212.10947; APE, arXiv 2502.05431
  kRight,       ///< p + L - l + t: pieces end where the query begins: Structured Prompting,
                ///< arXiv 2212.06713
  kSequential,  ///< no reuse: every token where the whole text has it
};

/// `spread`, `left`, `right` or `sequential`. Throws Error for another name.
Positions positions_named(std::string_view name);
/// The reverse of positions_named.
std::string_view name_of(Positions positions);

/// Which tokens are prefix and pieces, and the position of each: prefix | piece 1 | ... | piece P,
/// then the query.
struct Layout {
  int64_t prefix = 0;              ///< tokens
  std::vector<int64_t> pieces;     ///< tokens of each piece
  std::vector<int64_t> positions;  ///< of every token of prefix and pieces
  int64_t query_position = 0;      ///< of the query's first token

  /// Tokens of prefix and pieces.
  int64_t tokens() const { return static_cast<int64_t>(positions.size()); }
  /// What attention inside the pieces costs, over what it costs in one: sum_i l_i (l_i + 1) / (N (N
  /// + 1)).
  double cost_ratio() const;
};

/// Lays out a prefix and pieces of these lengths. Throws Error where a piece is empty.
Layout make_layout(int64_t prefix, std::vector<int64_t> pieces,
                   Positions positions = Positions::kSpread);

/// Lengths of `degree` pieces of ceil(tokens / degree) tokens, the last one shorter where they do
/// not divide. Throws Error, with the numbers, where that gives fewer than `degree` pieces.
std::vector<int64_t> split_tokens(int64_t tokens, int64_t degree);

/// Lengths of `degree` pieces made of whole units (documents, demonstrations, lines), contiguous,
/// the first units % degree of them getting one unit more. Throws Error where there are fewer units
/// than pieces.
std::vector<int64_t> split_units(const std::vector<int64_t>& unit_lengths, int64_t degree);

/// Sets of a packed row without a query: 0 is the prefix, 1 what a row's own segment has up to the
/// row (prefix rows are their own segment). Nobody sees another piece.
KeySets encode_sets(const Layout& layout);

/// Sets of query rows: 0 is the prefix, 1 .. P the pieces, P + 1 the query's own keys. `queries`
/// are the rows of each query of a batch, `earlier` the own keys that each of them has from before;
/// keys are laid out as prefix | pieces | own keys of query 1 | own keys of query 2 | ...
KeySets read_sets(int64_t prefix, const std::vector<int64_t>& pieces,
                  const std::vector<int64_t>& queries, const std::vector<int64_t>& earlier);

/// The same sets behind a window: a row sees only keys whose position is less than `window` before
/// its own, those of prefix and own keys included. Mistral 7B, arXiv 2310.06825, section 2, by
/// positions in place of numbers: under `spread` and `right` these differ. `key_positions` and
/// `row_positions` are of every key and row of `sets`. Throws Error for a window below 1, for other
/// numbers of positions, and where positions of the keys of a span fall.
KeySets behind_window(const KeySets& sets, const std::vector<int64_t>& key_positions,
                      const std::vector<int64_t>& row_positions, int64_t window);

}  // namespace motet
