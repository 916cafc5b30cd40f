#include "motet/eval/heads_run.h"

namespace motet {

bool HeadsRun::complete() const {
  return segment_rows.size() ==
         static_cast<std::size_t>(options.segments) * options.methods.size() * options.tau.size();
}

}  // namespace motet
