#pragma once

#include <cstdint>
#include <iosfwd>
#include <vector>

namespace motet {

/// Some neighbouring keys, [first, last).
struct KeyRange {
  int64_t first = 0;  ///< the first of them
  int64_t last = 0;   ///< the one behind the last of them

  /// How many there are.
  int64_t size() const { return first < last ? last - first : 0; }
};

/// Rows that see keys of one set: visibility is a list of these, never a mask matrix.
///
/// Keys are counted through all the key tensors given to `attend`, as if they were laid end to end.
/// Where `causal`, the last row sees every key of the span and each row before it one key less, so
/// a span of as many keys as rows is the usual triangle, and one with more keys a triangle behind a
/// block of earlier keys.
struct Span {
  int64_t set = 0;        ///< that the keys belong to
  int64_t first_row = 0;  ///< of the rows that see them
  int64_t rows = 0;       ///< how many
  int64_t first_key = 0;  ///< of the keys
  int64_t keys = 0;       ///< how many
  bool causal = false;    ///< whether each row sees one key more than the row before it
  /// The first key that each row sees, counted from `first_key`, never falling from row to row:
  /// keys before it are hidden, as those behind a window. Empty: every row sees from the first on.
  std::vector<int64_t> first_visible = {};

  /// The keys that a row sees, counted from `first_key`; empty where the first is not before the
  /// last. `row` is counted from `first_row`.
  KeyRange seen_by(int64_t row) const;
  /// Field by field.
  friend bool operator==(const Span&, const Span&) = default;
};

/// In one line, for messages.
std::ostream& operator<<(std::ostream& out, const Span& span);

/// Which keys each row sees, and to which set each of them belongs. A row's sets are disjoint.
class KeySets {
 public:
  /// `sets` groups of keys over `rows` query rows and `keys` keys. Throws Error where a span leaves
  /// these bounds, where a causal span has fewer keys than rows, where first visible keys are not
  /// one a row, fall or lie outside the span, or where a row would see a key twice.
  KeySets(int64_t sets, int64_t rows, int64_t keys, std::vector<Span> spans);

  int64_t sets() const { return sets_; }                     ///< how many
  int64_t rows() const { return rows_; }                     ///< query rows
  int64_t keys() const { return keys_; }                     ///< of all key tensors together
  const std::vector<Span>& spans() const { return spans_; }  ///< as given

  /// The factor on the scores of `set`, 1 unless given: applied by `score` and `attend` after a
  /// soft cap (ScoreRule) and before anything else.
  double factor(int64_t set) const;
  /// A copy with this factor on the scores of `set`. Throws Error unless `factor` is finite and
  /// above 0.
  KeySets with_factor(int64_t set, double factor) const;

  /// Whether some row does not see the first keys of a span (Span::first_visible).
  bool hides_first_keys() const;
  /// The number of (row, key) pairs that are visible: what attention costs.
  int64_t pairs() const;

 private:
  int64_t sets_;
  int64_t rows_;
  int64_t keys_;
  std::vector<Span> spans_;
  std::vector<double> factors_;  // empty: all 1
};

/// Every row sees the same `keys` keys, one set.
KeySets all_keys(int64_t rows, int64_t keys);

/// Row i sees keys 0 .. keys - rows + i, one set: ordinary causal attention.
KeySets causal_keys(int64_t rows, int64_t keys);

}  // namespace motet
