#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>

#include "motet/attention/sets.h"

namespace motet {

/// Which keys of a row are its largest, T: those whose effective score is at least the k-th largest
/// over all sets that the row sees. Ties are all in T.
struct KeyBudget {
  int64_t keys = 0;             ///< k; 0: no T is wanted
  std::optional<double> share;  ///< instead of `keys`: k = ceil(share * keys that the row sees)
  bool counts_first =
      true;  ///< whether key 0 is one of those; otherwise it is in T beside k others

  /// Whether a T is wanted.
  bool wanted() const { return keys > 0 || share.has_value(); }
  /// Throws Error, which begins with `where`, unless keys >= 0 and share is within (0, 1].
  void validate(const char* where) const;
};

/// How many keys of each set a row sees, [query, sets], int64.
torch::Tensor keys_seen(const KeySets& sets);

/// k of each row, int64; 0 where a row sees no more than k keys, all of which are its T. [query],
/// or [batch, heads, query] under log weights, as in `attend`: a set with -inf is not seen.
torch::Tensor keys_of_rows(const KeyBudget& budget, const KeySets& sets,
                           const std::optional<torch::Tensor>& log_weight = {});

}  // namespace motet
