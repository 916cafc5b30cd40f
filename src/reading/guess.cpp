#include "motet/reading/guess.h"

#include <ATen/ATen.h>

#include <array>
#include <memory>
#include <string_view>
#include <utility>

#include "motet/error.h"
#include "motet/reading/registry.h"
#include "reading/shipped.h"

namespace motet {
namespace {

constexpr std::array<std::pair<std::string_view, KeySummary>, 4> kSummaries{{
    {"mean", KeySummary::kMean},
    {"diagonal", KeySummary::kDiagonal},
    {"full", KeySummary::kFull},
    {"box", KeySummary::kBox},
}};

}  // namespace

Guess::Guess(int64_t pieces, KeySummary summary) : pieces_(pieces), summary_(summary) {
  require(pieces >= 1, "motet::Guess: K = ", pieces, "; at least one piece is kept");
}

std::string Guess::name() const {
  for (const auto& [name, summary] : kSummaries) {
    if (summary == summary_) {
      return "guess(K=" + std::to_string(pieces_) + ", " + std::string(name) + ")";
    }
  }
  fail("motet::Guess: no such summary");
}

ReadingNeeds Guess::needs() const {
  BulkNeeds bulk{.window = {.first = 0, .last = 0}, .by_piece = true};
  bulk.mass = summary_ == KeySummary::kBox ? BulkMass::kBounded : BulkMass::kEstimated;
  bulk.covariance = summary_ == KeySummary::kMean       ? Covariance::kNone
                    : summary_ == KeySummary::kDiagonal ? Covariance::kDiagonal
                                                        : Covariance::kFull;
  ReadingNeeds needs{.bulk = bulk};
  needs.kept = pieces_;
  return needs;
}

torch::Tensor Guess::reads(const PieceScores& scores, int64_t pieces) const {
  require(pieces_ <= pieces, "motet::Guess: K = ", pieces_, " of ", pieces,
          " pieces cannot be kept; choose a smaller K or more pieces");
  const auto order = std::get<1>(scores.bulk.sort(/*stable=*/true, 3, /*descending=*/true));
  return torch::zeros_like(scores.bulk, torch::kBool).scatter_(3, order.slice(3, 0, pieces_), true);
}

ReadingKind guess_kind() {
  return {.name = "guess",
          .usage = "guess[:K[:mean or diagonal or full or box]]",
          .make = [](const ReadingText& text) {
            text.at_most(2);
            const auto wanted = text.word(1, "full");
            for (const auto& [name, summary] : kSummaries) {
              if (name == wanted) {
                return std::make_shared<Guess>(text.number(0, int64_t{2}), summary);
              }
            }
            text.fail("'" + wanted + "' is no summary of these");
          }};
}

}  // namespace motet
