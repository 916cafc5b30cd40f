#include "eval/modes.h"

#include <algorithm>

#include "motet/error.h"
#include "motet/eval/mode.h"
#include "motet/reading/registry.h"

namespace motet {

std::vector<ReadingMode> reading_modes(const std::vector<std::string>& readings,
                                       const std::string& select) {
  std::vector<ReadingMode> modes;
  for (const auto& text : readings) {
    const std::shared_ptr<const Reading> reading = reading_named(text == "select" ? select : text);
    const auto name = text.substr(0, text.find(':'));
    require(name != "all", Field("readings"), " ", text, ": parallel and sink read all already");
    for (const auto& earlier : modes) {
      if (earlier.reading->name() == reading->name()) {
        const auto there = earlier.reading->source(), here = reading->source();
        require(there && here && there->hash != here->hash, Field("readings"), ": ", text,
                " is given twice");
        fail(Field("readings"), ": ", text, " and one before it are both called ", reading->name(),
             " in results; give the file, or its directory, another name");
      }
    }
    const auto needs = reading->needs();
    const auto& kind = *find_reading(name);
    // Of `select` and `select:4` the first has the modes of its own (selective, both), the other
    // is called by its kind: figures of two readings have two names.
    const bool first = std::none_of(modes.begin(), modes.end(), [&](const ReadingMode& earlier) {
      return !kind.mode.empty() && earlier.without_prefix == kind.mode;
    });
    const auto called = [&](const std::string& mode) {
      return mode.empty() || !first ? name : mode;
    };
    modes.push_back({called(kind.mode), called(kind.mode_with_prefix), needs.kept, reading,
                     needs.budget.wanted() || (needs.bulk && needs.kept == 0) || needs.null ||
                         needs.factor != RowFactor::kNone});
  }
  return modes;
}

void check_degrees(const std::vector<int64_t>& degrees, int64_t least) {
  require(!degrees.empty(), Field("pieces"), ": no degree is given");
  for (const auto degree : degrees) {
    require(degree >= least, Field("pieces"), " ", degree, ": a degree is at least 1");
    require(std::count(degrees.begin(), degrees.end(), degree) == 1, Field("pieces"),
            ": the degree ", degree, " is given twice");
  }
}

std::string mode_label(const std::string& mode, const std::string& reading, int64_t selected,
                       bool prefix) {
  if (reading == "all") {
    return mode;
  }
  // A mode with a name of its own says as much as a reading with no other option than K.
  for (const auto& kind : reading_kinds()) {
    const bool named = mode == kind.mode || mode == kind.mode_with_prefix;
    if (named && selected > 0 &&
        reading == kind.make(ReadingText(kind.name + ":" + std::to_string(selected)))->name()) {
      return mode;
    }
  }
  return reading + (prefix ? " + prefix" : "");
}

}  // namespace motet
