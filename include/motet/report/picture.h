#pragma once

#include <string>
#include <vector>

#include "motet/eval/compare_run.h"

namespace motet {

/// A picture for a page or a paper.
struct Picture {
  std::string name;     ///< of its file: `entropy-maps`
  std::string title;    ///< what it shows, in a line
  std::string caption;  ///< units, and how to read it
  std::string svg;      ///< the whole document; every mark says its values when pointed at
};

/// What runs show, the same scales for all of them, one row of panels for each: perplexity and
/// entropy against the degree (the layout of PCE's figure 2, arXiv 2412.16545), entropy of each
/// head and its change, its parts, entropy along the text, and where the probability goes. Readable
/// in black and white. Throws Error for no run, and for one without rows.
std::vector<Picture> pictures_of(const std::vector<CompareRun>& runs);

}  // namespace motet
