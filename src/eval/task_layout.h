#pragma once

#include <cstdint>
#include <vector>

#include "motet/eval/tasks.h"

namespace motet {

/// Tokens that every piece sees: BOS and lead, and the prefix in modes that have it.
std::vector<int64_t> before_units(const TaskItem& item, const TasksOptions& options, bool prefix);

/// How many pieces an item has at a degree.
int64_t filled_pieces(const TaskItem& item, int64_t degree);

/// The layout of a mode: units dealt to pieces as PCE deals them.
Layout layout_of(const TaskItem& item, const TasksOptions& options, const Mode& mode);

/// FLOPs of a mode of an item: of a layer while the context is encoded, and of all that is read.
struct ItemCost {
  double encode_layer, read;
};
ItemCost cost_of(const TaskItem& item, const Config& config, const TasksOptions& options,
                 const Mode& mode);

}  // namespace motet
