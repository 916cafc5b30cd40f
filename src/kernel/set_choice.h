#pragma once

#include <cstdint>

namespace motet {

/// A choice that each row makes among neighbouring sets: it keeps those whose largest scores have
/// most probability together (PCE section 5.2), and all sets that there is no choice among.
struct SetChoice {
  int64_t first = 0, sets = 0;  // which sets: [first, first + sets)
  int64_t keep = 0;             // how many of them stay; 0: no choice is made

  bool wanted() const { return keep > 0; }
  bool among(int64_t set) const { return wanted() && set >= first && set < first + sets; }
};

}  // namespace motet
