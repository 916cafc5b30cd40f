#include "motet/reading/null_set.h"

#include <ATen/ATen.h>

#include <cmath>
#include <memory>

#include "motet/error.h"
#include "motet/reading/registry.h"
#include "reading/numbers.h"
#include "reading/shipped.h"

namespace motet {

NullSet::NullSet(double b) : b_(b) {
  require(std::abs(b) <= kFar, "motet::NullSet: b = ", b, "; it is within ", -kFar, " and ", kFar);
}

std::string NullSet::name() const { return "null(b=" + text_of(b_) + ")"; }

std::optional<torch::Tensor> NullSet::decide(const PieceScores& scores) const {
  auto log_weight = torch::zeros_like(scores.lse);
  scores.sets.null_in(log_weight).fill_(b_);
  return log_weight;
}

ReadingKind null_kind() {
  return {.name = "null", .usage = "null[:B]", .make = [](const ReadingText& text) {
            text.at_most(1);
            return std::make_shared<NullSet>(text.number(0, 0.0));
          }};
}

}  // namespace motet
