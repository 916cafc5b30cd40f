#include "motet/probe/choice.h"

#include <ATen/ATen.h>

#include "motet/reading/select.h"

namespace motet {
namespace {

using torch::Tensor;

constexpr int64_t kTop = 5;  // PCE's r

}  // namespace

void ChoiceProbe::observe(const Observation& seen) {
  if (seen.kind != RowKind::kQuery || seen.sets.pieces() < 2) {
    return;
  }
  const auto found = seen.kept_pieces();
  if (!found) {
    return;
  }
  const auto& kept = *found;
  const PieceScores scores{score(seen.query, seen.keys, *seen.visible, kTop, {.rule = seen.rule}),
                           PieceSets(seen.sets.pieces()), seen.queries, seen.layer};
  const auto order =
      std::get<1>(piece_scores(scores, kTop).sort(/*stable=*/true, 3, /*descending=*/true));
  // The exact choice keeps as many as the row did: a piece's rank is below their number.
  const auto rank = order.argsort(/*stable=*/true, 3, /*descending=*/false);
  const auto count = kept.sum(3, true);
  const auto exact = rank < count;
  recall_.add(seen.layer, exact.logical_and(kept).sum(3).to(torch::kFloat32) /
                              count.squeeze(3).clamp_min(1).to(torch::kFloat32));
  const auto lse = scores.piece_lse();
  const auto share = (lse - lse.logsumexp(3, true)).exp().nan_to_num(0.0);
  mass_.add(seen.layer, (share * kept).sum(3));
}

}  // namespace motet
