#include "motet/reading/reading.h"

#include <ATen/ATen.h>

#include "attention/infinity.h"

namespace motet {

using torch::Tensor;

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
