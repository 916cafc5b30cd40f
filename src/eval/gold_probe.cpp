#include "eval/gold_probe.h"

#include <ATen/ATen.h>

namespace motet {

void GoldProbe::observe(const Observation& seen) {
  if (gold_.empty() || seen.kind != RowKind::kQuery) {
    return;
  }
  const auto mass = seen.sets.pieces_in(seen.parts().mass);  // [batch, heads, rows, pieces]
  const auto gold = torch::tensor(gold_, torch::kInt64).to(mass.device());
  const auto of_gold = mass.index_select(3, gold);
  mass_.add(seen.layer, of_gold.sum(3));
  best_.add(seen.layer, (of_gold.amax(3) >= mass.amax(3)).to(torch::kFloat32));
  const auto pieces = seen.kept_pieces();
  const auto kept = pieces ? pieces->index_select(3, gold).any(3)
                           : torch::ones_like(of_gold.select(3, 0), torch::kBool);
  kept_.add(seen.layer, kept.to(torch::kFloat32));
}

}  // namespace motet
