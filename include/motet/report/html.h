#pragma once

#include <string>
#include <vector>

#include "motet/eval/compare_run.h"

namespace motet {

/// One self-contained page with the pictures and the table of each run: no network, no script.
/// Throws Error as pictures_of does.
std::string html_of(const std::vector<CompareRun>& runs);

}  // namespace motet
