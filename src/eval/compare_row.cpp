#include "motet/eval/compare_row.h"

#include "motet/eval/join.h"
#include "motet/eval/mode.h"

namespace motet {

std::string label_of(const CompareRow& row) {
  return mode_label(row.mode, row.reading, row.selected, row.prefix_tokens > 0);
}

std::vector<CompareRow> over_segments(const std::vector<CompareRow>& segment_rows) {
  return join_items(segment_rows);
}

}  // namespace motet
