#include "motet/eval/ensemble.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "motet/error.h"

namespace motet {

using torch::Tensor;

std::string Ensemble::name() const {
  return mixing == Mixing::kMean ? "mean" : fmt::format("nbce:{}", beta);
}

int64_t Ensemble::members(int64_t pieces) const {
  return pieces + (mixing == Mixing::kNbce ? 1 : 0);
}

Ensemble ensemble_named(std::string_view text) {
  const auto refuse = [&](const std::string& why) {
    fail("the ensemble '", text, "': ", why, "; there are nbce[:BETA] and mean");
  };
  if (text == "mean") {
    return {.mixing = Mixing::kMean};
  }
  const auto colon = text.find(':');
  if (text.substr(0, colon) != "nbce") {
    refuse("no such name");
  }
  Ensemble ensemble;
  if (colon != std::string_view::npos) {
    const auto number = text.substr(colon + 1);
    const auto [end, error] =
        std::from_chars(number.data(), number.data() + number.size(), ensemble.beta);
    if (error != std::errc() || end != number.data() + number.size() ||
        !std::isfinite(ensemble.beta) || ensemble.beta < 0) {
      refuse("beta is a number, 0 or more");
    }
  }
  return ensemble;
}

std::vector<EncodedContext> members_of(const Ensemble& ensemble, const EncodedContext& context) {
  std::vector<EncodedContext> members;
  const auto add = [&](std::vector<EncodedPiece> pieces) {
    members.push_back({context.prefix, std::move(pieces), context.query_position, context.reach});
  };
  for (const auto& piece : context.pieces) {
    add({piece});
  }
  if (ensemble.mixing == Mixing::kNbce) {
    add({});
  }
  return members;
}

Tensor mixed(const Ensemble& ensemble, const std::vector<Tensor>& logits) {
  std::vector<Tensor> log_p;
  for (const auto& member : logits) {
    log_p.push_back(member.log_softmax(-1));
  }
  const auto pieces = static_cast<int64_t>(log_p.size()) - ensemble.members(0);
  require(pieces >= 1, "motet::mixed: ", logits.size(),
          " members; at least one of them reads a "
          "piece");
  const auto of_pieces = torch::stack(torch::TensorList(log_p).slice(0, pieces));
  if (ensemble.mixing == Mixing::kMean) {
    return of_pieces.logsumexp(0) - std::log(static_cast<double>(pieces));
  }
  const auto entropy = -(of_pieces.exp() * of_pieces).sum(-1);  // [pieces, rows]
  const auto surest = entropy.argmin(0);                        // [rows]
  const auto chosen =
      of_pieces.gather(0, surest.view({1, -1, 1}).expand({1, -1, of_pieces.size(2)})).squeeze(0);
  return ((1 + ensemble.beta) * chosen - ensemble.beta * log_p.back()).log_softmax(-1);
}

}  // namespace motet
