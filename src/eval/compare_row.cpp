#include "motet/eval/compare_row.h"

#include "motet/eval/join.h"
#include "motet/reading/registry.h"

namespace motet {

std::string label_of(const CompareRow& row) {
  if (row.reading == "all") {
    return row.mode;
  }
  // A mode with a name of its own says as much as a reading with no other option than K.
  for (const auto& kind : reading_kinds()) {
    const bool named = row.mode == kind.mode || row.mode == kind.mode_with_prefix;
    if (named && row.selected > 0 &&
        row.reading ==
            kind.make(ReadingText(kind.name + ":" + std::to_string(row.selected)))->name()) {
      return row.mode;
    }
  }
  return row.reading + (row.prefix_tokens > 0 ? " + prefix" : "");
}

std::vector<CompareRow> over_segments(const std::vector<CompareRow>& segment_rows) {
  return join_items(segment_rows);
}

}  // namespace motet
