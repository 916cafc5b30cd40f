#include "model/show.h"

#include <ATen/ATen.h>

#include <vector>

#include "motet/attention/probabilities.h"

namespace motet {

using torch::Tensor;

void show(const Probes& probes, Observation seen, const ReadRows& read, const Tensor& query,
          const LocalKeys& keys) {
  const auto& [row, log_weight, threshold, bulk] = read;
  const at::NoGradGuard no_grad;
  const auto needs = needs_of(probes);
  if (needs.rows) {
    seen.row = row;
    seen.log_weight = log_weight;
    seen.bulk = bulk;
  }
  if (needs.query_keys_values) {
    seen.query = query;
    seen.keys = keys.keys();
    seen.values = keys.values();
  }
  std::vector<int64_t> rows;  // of this pass
  for (const auto named : needs.named_rows) {
    const auto here = named - seen.first_row;
    if (seen.kind == RowKind::kQuery && here >= 0 && here < query.size(2)) {
      seen.named_rows.push_back(named);
      rows.push_back(here);
    }
  }
  if (!rows.empty()) {
    const RowOptions options{.rule = seen.rule, .threshold = threshold};
    seen.probabilities =
        bulk ? probabilities(query, keys.keys(), bulk->sets.all, bulk->log_weight, row.lse, rows,
                             options)
             : probabilities(query, keys.keys(), *seen.visible, log_weight, row.lse, rows, options);
  }
  for (auto* probe : probes) {
    probe->observe(seen);
  }
}

}  // namespace motet
