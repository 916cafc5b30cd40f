#include "motet/eval/heads_row.h"

#include "motet/eval/join.h"

namespace motet {

std::vector<HeadsRow> over_segments(const std::vector<HeadsRow>& rows) { return join_items(rows); }

HeadsFull over_segments(const std::vector<HeadsFull>& full) {
  require(!full.empty(), "motet::over_segments: no segment");
  return join_items(full)[0];
}

}  // namespace motet
