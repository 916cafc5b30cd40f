#include "motet/eval/compare_run.h"

#include <set>

namespace motet {

bool CompareRun::complete() const {
  return static_cast<int64_t>(segments_done().size()) == options.segments;
}

std::vector<int64_t> CompareRun::segments_done() const {
  std::set<int64_t> done;
  for (const auto& row : segment_rows) {
    done.insert(row.segment.value());
  }
  return {done.begin(), done.end()};
}

}  // namespace motet
