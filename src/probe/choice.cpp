#include "motet/probe/choice.h"

#include <ATen/ATen.h>

#include "attention/infinity.h"
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
  const PieceScores scores{score(seen.query, seen.keys, *seen.visible, kTop, {.rule = seen.rule}),
                           PieceSets(seen.sets.pieces()), seen.queries, seen.layer};
  // A row that a layer's window hides all pieces from chooses nothing; it is the same for all
  // heads.
  const auto all_lse = scores.piece_lse();
  const auto rows = (all_lse != -kInfinity).any(3).flatten(0, 1).any(0).nonzero().squeeze(1);
  if (rows.numel() == 0) {
    return;
  }
  const auto lse = all_lse.index_select(2, rows);
  const auto kept = found->index_select(2, rows);
  const auto order = std::get<1>(piece_scores(scores, kTop)
                                     .index_select(2, rows)
                                     .sort(/*stable=*/true, 3, /*descending=*/true));
  // The exact choice keeps as many as the row did: a piece's rank is below their number.
  const auto rank = order.argsort(/*stable=*/true, 3, /*descending=*/false);
  const auto count = kept.sum(3, true);
  const auto exact = rank < count;
  recall_.add(seen.layer, exact.logical_and(kept).sum(3).to(torch::kFloat32) /
                              count.squeeze(3).clamp_min(1).to(torch::kFloat32));
  mass_.add(seen.layer, ((lse - lse.logsumexp(3, true)).exp() * kept).sum(3));
}

}  // namespace motet
