#pragma once

#include "motet/reading/reading.h"

namespace motet {

/// `read_rows` for readings that decide about bulks.
ReadRows read_window_rows(const Reading& reading, const torch::Tensor& query,
                          torch::TensorList keys, torch::TensorList values, const KeySets& sets,
                          const std::vector<int64_t>& queries, const RowOptions& options,
                          int64_t layer, const KnownBulks& known);

}  // namespace motet
