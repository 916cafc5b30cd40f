#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "motet/eval/ensemble.h"
#include "motet/model/oracle.h"
#include "motet/reading/reading.h"

namespace motet {

/// A way of reading a context: a mode at one degree.
struct Mode {
  /// full, parallel, sink, selective, both, oracle, ensemble, or that of another reading.
  std::string name;
  int64_t pieces = 1;                        ///< the degree P
  bool prefix = false;                       ///< whether pieces and query see the shared prefix
  int64_t selected = 0;                      ///< K; 0 where every piece is read
  std::shared_ptr<const Reading> reading;    ///< of the query
  std::optional<OracleOptions> oracle = {};  ///< what comes from a full run, if anything
  std::optional<Ensemble> ensemble = {};     ///< of readings of one piece each, if it is one
};

/// A mode that cannot be, and why.
struct LeftOut {
  std::string mode;    ///< its name
  int64_t pieces = 1;  ///< the degree P
  std::string reason;  ///< with the numbers
};

/// How a table or a picture names a mode: with the options of a reading that is not of the named
/// modes, and `+ prefix`. `reading` is Reading::name.
std::string mode_label(const std::string& mode, const std::string& reading, int64_t selected,
                       bool prefix);

}  // namespace motet
