#pragma once

#include <string>

#include "motet/eval/run.h"

namespace motet {

/// The run's rows as a table of plain text, one line a row, with its units above.
std::string table_of(const Run& run);

}  // namespace motet
