#include "model/show.h"

#include <ATen/ATen.h>

#include <vector>

namespace motet {

using torch::Tensor;

void show(const Probes& probes, Observation seen, const ReadRows& read, const Tensor& query,
          const LocalKeys& keys) {
  const at::NoGradGuard no_grad;
  const auto needs = needs_of(probes);
  std::vector<int64_t> rows;  // of this pass
  for (const auto named : needs.named_rows) {
    const auto here = named - seen.first_row;
    if (seen.kind == RowKind::kQuery && here >= 0 && here < query.size(2)) {
      seen.named_rows.push_back(named);
      rows.push_back(here);
    }
  }
  if (needs.rows || !rows.empty()) {
    seen.row = read.row;
    seen.log_weight = read.log_weight;
    seen.threshold = read.threshold;
    seen.factor = read.factor;
    seen.bulk = read.bulk;
  }
  if (needs.query_keys_values || !rows.empty()) {
    seen.query = query;
    seen.keys = keys.keys();
    seen.values = keys.values();
  }
  if (!rows.empty()) {
    seen.probabilities = seen.probabilities_of(rows);
  }
  for (auto* probe : probes) {
    probe->observe(seen);
  }
}

}  // namespace motet
