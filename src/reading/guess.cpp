#include "motet/reading/guess.h"

#include <ATen/ATen.h>

#include <memory>

#include "motet/error.h"
#include "motet/names.h"
#include "motet/reading/registry.h"
#include "reading/shipped.h"

namespace motet {
namespace {

using torch::Tensor;

constexpr Names<KeySummary, 6> kSummaries({{KeySummary::kMean, "mean"},
                                           {KeySummary::kDiagonal, "diagonal"},
                                           {KeySummary::kFull, "full"},
                                           {KeySummary::kBox, "box"},
                                           {KeySummary::kLast, "last"},
                                           {KeySummary::kRandom, "random"}});

/// Mixes the bits of numbers from 0 to 2^32 - 1; products stay below 2^63.
Tensor scrambled(Tensor x) {
  for (int round = 0; round < 2; ++round) {
    x = (x.bitwise_xor(at::bitwise_right_shift(x, 16)) * 0x45d9f3b).bitwise_and(0xffffffff);
  }
  return x.bitwise_xor(at::bitwise_right_shift(x, 16));
}

/// A number for each piece, [batch, heads, query, pieces], int64: a hash of layer, head and what
/// the row's scores of prefix and own keys add up to. A generator's next numbers would be others
/// where rows are read in parts, and the same ones in every call. The lse is rounded to hundredths
/// of a nat, so that the order of its sums changes few draws.
Tensor drawn(const PieceScores& scores, int64_t pieces) {
  const auto& lse = scores.row_lse;
  const auto count = [&](int64_t n) {
    return torch::arange(n, lse.options().dtype(torch::kInt64));
  };
  const auto heads = lse.size(1);
  const auto hundredths = (lse.nan_to_num(0, 0, 0) * 100).round().to(torch::kInt64);
  const auto row = scrambled(hundredths.bitwise_and(0xffffffff));
  const auto head = (count(heads) + scores.layer * heads).unsqueeze(1);
  return scrambled(scrambled(row.bitwise_xor(head)).unsqueeze(3).bitwise_xor(count(pieces)));
}

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

Tensor Guess::reads(const PieceScores& scores, int64_t pieces) const {
  require(pieces_ <= pieces, "motet::Guess: K = ", pieces_, " of ", pieces,
          " pieces cannot be kept; choose a smaller K or more pieces");
  auto promised = scores.bulk;
  if (!promised.defined()) {
    const auto& lse = scores.row_lse;
    promised = summary_ == KeySummary::kLast
                   ? torch::arange(pieces, lse.options())
                         .expand({lse.size(0), lse.size(1), lse.size(2), pieces})
                   : drawn(scores, pieces);
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
