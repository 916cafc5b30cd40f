#include "motet/reading/scale.h"

#include <ATen/ATen.h>

#include <memory>

#include "motet/attention/budget.h"
#include "motet/error.h"
#include "motet/names.h"
#include "motet/reading/registry.h"
#include "reading/numbers.h"
#include "reading/shipped.h"

namespace motet {
namespace {

using torch::Tensor;

constexpr Names<ScaleLaw, 3> kLaws({{ScaleLaw::kSsmax, "ssmax"},
                                    {ScaleLaw::kInfoScale, "infoscale"},
                                    {ScaleLaw::kEntropy, "entropy"}});

/// The keys that rows see in all, and those of their longest path: [query], float64.
struct Lengths {
  Tensor all, path;
};

Lengths lengths_of(const RowKeys& rows) {
  const auto keys = keys_seen(rows.sets).to(torch::kFloat64);  // [query, sets]
  const auto& sets = rows.meaning;
  auto path = keys.select(1, sets.prefix()) + keys.select(1, sets.own());
  if (sets.pieces() > 0) {
    path = path + keys.slice(1, sets.piece(0), sets.piece(sets.pieces())).amax(1);
  }
  return {keys.sum(1), path};
}

/// Of the paper's fit to its own models, coefficients from the fourth power down.
Tensor inverse_temperature(const Tensor& entropy) {
  auto value = torch::full_like(entropy, -0.037);
  for (const auto coefficient : {0.481, -2.3, 4.917, -1.791}) {
    value = value * entropy + coefficient;
  }
  constexpr double kLeast = 0.5;  // nats
  return value.clamp_min(1).masked_fill(entropy <= kLeast, 1);
}

}  // namespace

Scale::Scale(ScaleLaw law, std::optional<double> number) : law_(law), number_(number) {
  if (!number_) {
    return;
  }
  require(law != ScaleLaw::kEntropy, "motet::Scale: the law of entropy takes no number");
  require_positive("motet::Scale", law == ScaleLaw::kSsmax ? "S" : "m", *number_);
  require(law != ScaleLaw::kInfoScale || *number_ > 1, "motet::Scale: m = ", *number_,
          "; a number of keys above 1 is wanted");
}

std::string Scale::name() const {
  auto text = "scale(" + std::string(kLaws.of(law_));
  if (number_) {
    text += (law_ == ScaleLaw::kSsmax ? ", S=" : ", m=") + text_of(*number_);
  }
  return text + ")";
}

ReadingNeeds Scale::needs() const {
  return {.factor = law_ == ScaleLaw::kEntropy ? RowFactor::kEntropy : RowFactor::kKeys};
}

std::optional<Tensor> Scale::row_factor(const RowKeys& rows) const {
  if (law_ == ScaleLaw::kEntropy) {
    return inverse_temperature(rows.entropy);
  }
  const auto [all, path] = lengths_of(rows);
  constexpr double kTwo = 2;  // of a single key nothing can be said: ln 1 is 0
  const auto n = all.clamp_min(kTwo);
  const auto m = number_ && law_ == ScaleLaw::kInfoScale ? torch::full_like(n, *number_)
                                                         : path.clamp_min(kTwo);
  Tensor factor;
  if (law_ == ScaleLaw::kSsmax) {
    factor = number_ ? *number_ * n.log() : n.log() / m.log();
  } else {
    const auto power = -2.0 / static_cast<double>(rows.features);
    factor = ((1 - n.pow(power)) / (1 - m.pow(power))).sqrt();
  }
  return factor.view({1, 1, -1});
}

ReadingKind scale_kind() {
  return {.name = "scale",
          .usage = "scale:ssmax[:S], scale:infoscale[:M], scale:entropy",
          .make = [](const ReadingText& text) {
            text.at_most(2);
            const auto law = kLaws.find(text.word(0));
            if (!law) {
              text.fail("'" + text.word(0) + "' is no law of these");
            }
            return std::make_shared<Scale>(
                *law, text.count() > 1 ? std::optional(text.number(1, 0.0)) : std::nullopt);
          }};
}

}  // namespace motet
