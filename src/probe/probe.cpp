#include "motet/probe/probe.h"

namespace motet {

ProbeNeeds needs_of(const Probes& probes) {
  ProbeNeeds all;
  for (const auto* probe : probes) {
    const auto needs = probe->needs();
    all.rows = all.rows || needs.rows || needs.entropy;
    all.entropy = all.entropy || needs.entropy;
    all.query_keys_values = all.query_keys_values || needs.query_keys_values;
  }
  return all;
}

}  // namespace motet
