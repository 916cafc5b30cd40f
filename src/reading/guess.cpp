#include "motet/reading/guess.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include <memory>

#include "motet/error.h"
#include "motet/names.h"
#include "motet/reading/registry.h"
#include "reading/shipped.h"

namespace motet {
namespace {

constexpr Names<KeySummary, 6> kSummaries({{KeySummary::kMean, "mean"},
                                           {KeySummary::kDiagonal, "diagonal"},
                                           {KeySummary::kFull, "full"},
                                           {KeySummary::kBox, "box"},
                                           {KeySummary::kLast, "last"},
                                           {KeySummary::kRandom, "random"}});

}  // namespace

Guess::Guess(int64_t pieces, KeySummary summary) : pieces_(pieces), summary_(summary) {
  require(pieces >= 1, "motet::Guess: K = ", pieces, "; at least one piece is kept");
}

std::string Guess::name() const {
  return "guess(K=" + std::to_string(pieces_) + ", " + std::string(kSummaries.of(summary_)) + ")";
}

ReadingNeeds Guess::needs() const {
  BulkNeeds bulk{.window = {.first = 0, .last = 0}, .by_piece = true};
  bulk.mass = summary_ == KeySummary::kBox ? BulkMass::kBounded : BulkMass::kEstimated;
  if (summary_ == KeySummary::kLast || summary_ == KeySummary::kRandom) {
    bulk.mass = BulkMass::kNothing;
  }
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
  auto promised = scores.bulk;
  if (!promised.defined()) {
    const auto& like = scores.lse;
    const std::vector<int64_t> shape{like.size(0), like.size(1), like.size(2), pieces};
    constexpr uint64_t kSeed = 42;
    promised = summary_ == KeySummary::kLast
                   ? torch::arange(pieces, torch::kFloat32).expand(shape)
                   : torch::rand(shape, at::detail::createCPUGenerator(
                                            kSeed + static_cast<uint64_t>(scores.layer)));
    promised = promised.to(like.device());
  }
  const auto order = std::get<1>(promised.sort(/*stable=*/true, 3, /*descending=*/true));
  return torch::zeros(promised.sizes(), order.options().dtype(torch::kBool))
      .scatter_(3, order.slice(3, 0, pieces_), true);
}

ReadingKind guess_kind() {
  return {.name = "guess",
          .usage = "guess[:K[:mean or diagonal or full or box or last or random]]",
          .make = [](const ReadingText& text) {
            text.at_most(2);
            const auto wanted = text.word(1, "full");
            const auto summary = kSummaries.find(wanted);
            if (!summary) {
              text.fail("'" + wanted + "' is no summary of these");
            }
            return std::make_shared<Guess>(text.number(0, int64_t{2}), *summary);
          }};
}

}  // namespace motet
