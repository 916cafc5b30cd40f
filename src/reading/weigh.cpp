#include "motet/reading/weigh.h"

#include <ATen/ATen.h>

#include <cmath>

#include "attention/infinity.h"
#include "attention/merging.h"
#include "motet/error.h"
#include "motet/reading/registry.h"
#include "motet/reading/select.h"
#include "reading/numbers.h"
#include "reading/shipped.h"

namespace motet {
namespace {

using torch::Tensor;
using Decision = std::optional<Tensor>;

constexpr int64_t kTop = 5;  // PCE's r

/// A kind of reading with one number for its option.
template <class Kind>
ReadingKind kind_with_number(const char* name, const char* usage, double otherwise) {
  return {.name = name, .usage = usage, .make = [otherwise](const ReadingText& text) {
            text.at_most(1);
            return std::make_shared<Kind>(text.number(0, otherwise));
          }};
}

}  // namespace

Soft::Soft(double temperature) : temperature_(temperature) {
  require_positive("motet::Soft", "temperature", temperature);
}

std::string Soft::name() const { return "soft(T=" + text_of(temperature_) + ")"; }

ReadingNeeds Soft::needs() const { return {.scores = true, .top = kTop}; }

Decision Soft::decide(const PieceScores& scores) const {
  constexpr double kLeast = 1e-5;
  const auto lse = scores.piece_lse();
  const auto none = lse == -kInfinity;
  const auto logits = ((piece_scores(scores, kTop) + kLeast).log() / temperature_)
                          .masked_fill(none, -kInfinity);  // what has no keys takes no share
  return scores.for_pieces(logits.log_softmax(3) + finite_log_sum(lse) - lse);
}

Sharpen::Sharpen(double exponent) : exponent_(exponent) {
  require_positive("motet::Sharpen", "exponent", exponent);
}

std::string Sharpen::name() const { return "sharpen(b=" + text_of(exponent_) + ")"; }

Decision Sharpen::decide(const PieceScores& scores) const {
  if (scores.sets.pieces() == 0) {
    return torch::zeros_like(scores.lse);
  }
  const auto lse = below_largest(scores.piece_lse());
  const auto total = finite_log_sum(exponent_ * lse);
  return scores.for_pieces((exponent_ - 1) * lse - (1 - 1 / exponent_) * total);
}

Discount::Discount(double c) : c_(c) {
  require(std::abs(c) <= kFar, "motet::Discount: c = ", c, "; it is within ", -kFar, " and ", kFar);
}

std::string Discount::name() const { return "discount(c=" + text_of(c_) + ")"; }

Decision Discount::decide(const PieceScores& scores) const {
  const auto pieces = std::max<int64_t>(1, scores.sets.pieces());
  return scores.for_pieces(
      torch::full_like(scores.piece_lse(), -c_ * std::log(static_cast<double>(pieces))));
}

Temper::Temper(double temperature, double scale) : temperature_(temperature), scale_(scale) {
  require_positive("motet::Temper", "temperature", temperature);
  require_positive("motet::Temper", "scale", scale);
}

std::string Temper::name() const {
  return "temper(T=" + text_of(temperature_) + ", S=" + text_of(scale_) + ")";
}

KeySets Temper::prepare(KeySets sets, const PieceSets& meaning) const {
  for (int64_t piece = 0; piece < meaning.pieces(); ++piece) {
    sets = sets.with_factor(meaning.piece(piece), 1 / temperature_);
  }
  return sets;
}

Decision Temper::decide(const PieceScores& scores) const {
  const auto lse = scores.piece_lse();
  const auto shift = (scale_ * temperature_ - 1) * finite_log_sum(lse);
  return scores.for_pieces(shift.expand_as(lse));
}

ReadingKind soft_kind() { return kind_with_number<Soft>("soft", "soft[:T]", 1); }
ReadingKind sharpen_kind() { return kind_with_number<Sharpen>("sharpen", "sharpen[:B]", 4); }
ReadingKind discount_kind() { return kind_with_number<Discount>("discount", "discount[:C]", 1); }

ReadingKind temper_kind() {
  return {.name = "temper", .usage = "temper[:T[:S]]", .make = [](const ReadingText& text) {
            text.at_most(2);
            return std::make_shared<Temper>(text.number(0, 0.9), text.number(1, 0.9));
          }};
}

}  // namespace motet
