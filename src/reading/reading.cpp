#include "motet/reading/reading.h"

#include <ATen/ATen.h>

#include "attention/infinity.h"
#include "motet/error.h"

namespace motet {

using torch::Tensor;

void ReadingNeeds::validate(const std::string& reading) const {
  require(!null || (!bulk && !choice), "motet::Reading: ", reading, " wants a null set beside ",
          bulk ? "bulks" : "a choice", " of its own; it is weighed by a reading with neither");
  require(!budget.wanted() || !bulk, "motet::Reading: ", reading,
          " wants the threshold of a budget and decides about bulks; it does one or the other");
  require(factor == RowFactor::kNone || (!layers && !bulk), "motet::Reading: ", reading,
          " puts factors on rows and decides ", layers ? "for all layers at once" : "about bulks",
          "; it does one or the other");
}

Tensor PieceScores::for_pieces(const Tensor& pieces) const {
  auto all = torch::zeros_like(lse);
  sets.pieces_in(all).copy_(pieces.masked_fill(piece_lse() == -kInfinity, 0));
  return all;
}

std::vector<std::optional<Tensor>> Reading::decide_layers(
    const std::vector<PieceScores>& scores) const {
  std::vector<std::optional<Tensor>> decisions;
  for (const auto& layer : scores) {
    decisions.push_back(decide(layer));
  }
  return decisions;
}

}  // namespace motet
