#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "motet/attention/rows.h"
#include "motet/model/ablation.h"

namespace motet {

/// Carries out an ablation while queries are read, pass after pass.
class Ablator {
 public:
  /// Throws Error for a head that the model does not have.
  Ablator(Ablation ablation, int64_t layers, int64_t heads);

  /// Changes the rows of one layer of one pass; `queries` as in Observation. `own_only` computes
  /// the rows of one head with all but the own set dropped, [batch, 1, rows, ...]. Returns the
  /// heads whose rows are those now.
  std::vector<int64_t> apply(int64_t layer, const std::vector<int64_t>& queries, Row& row,
                             const std::function<Row(int64_t head)>& own_only);

  /// From here on so many queries go on from where the only one is.
  void repeat(int64_t queries);

 private:
  /// Of one head, for one query: what its rows so far add up to.
  struct Seen {
    torch::Tensor sum;  // [batch, 1, 1, features], float64
    int64_t rows = 0;
  };
  Ablation ablation_;
  std::map<std::pair<std::size_t, std::size_t>, Seen> seen_;  // by index into heads, and query
};

}  // namespace motet
