#pragma once

#include <utility>
#include <vector>

#include "motet/context/encoded_context.h"
#include "motet/eval/tasks.h"

namespace motet {

/// Reads an item in the modes that share this context, and adds what is found to their rows. What
/// one of them reads, all read in the same call. Outputs are made where `generate` is true.
void read_modes(const Decoder& model, const Tokenizer& tokenizer, const TaskItem& item,
                const TasksOptions& options, const EncodedContext& context,
                const std::vector<std::pair<const Mode*, ItemRow*>>& modes, bool generate,
                const TasksProgress& progress);

}  // namespace motet
