#include "motet/probe/probe.h"

#include <algorithm>

namespace motet {

ProbeNeeds needs_of(const Probes& probes) {
  ProbeNeeds all;
  for (const auto* probe : probes) {
    const auto needs = probe->needs();
    all.rows = all.rows || needs.rows || needs.entropy;
    all.entropy = all.entropy || needs.entropy;
    all.query_keys_values = all.query_keys_values || needs.query_keys_values;
    all.named_rows.insert(all.named_rows.end(), needs.named_rows.begin(), needs.named_rows.end());
  }
  std::sort(all.named_rows.begin(), all.named_rows.end());
  all.named_rows.erase(std::unique(all.named_rows.begin(), all.named_rows.end()),
                       all.named_rows.end());
  all.rows = all.rows || !all.named_rows.empty();
  return all;
}

}  // namespace motet
