#include "motet/reading/key_source.h"

#include <ATen/ATen.h>

#include <utility>

#include "attention/place.h"
#include "kernel/checked.h"
#include "kernel/compute.h"
#include "motet/error.h"

namespace motet {

using torch::Tensor;

std::optional<ChosenRows> KeySource::choose(const Tensor&, const KeySets&, const PieceSets&,
                                            const RowChoice&, const RowOptions&) const {
  return {};
}

std::vector<KeyMoments> KeySource::moments(const KeySets&) const {
  fail(
      "motet::KeySource: these keys give no moments, from which a reading would estimate; override "
      "KeySource::moments");
}

std::vector<KeyBounds> KeySource::bounds(const KeySets&) const {
  fail(
      "motet::KeySource: these keys give no bounds, which a reading asks for; override "
      "KeySource::bounds");
}

LocalKeys LocalKeys::of_head(int64_t kv_head) const {
  const auto of = [&](const std::vector<Tensor>& all) {
    std::vector<Tensor> heads;
    for (const auto& x : all) {
      heads.push_back(x.narrow(1, kv_head, 1));
    }
    return heads;
  };
  return {of(keys_), of(values_)};
}

Scores LocalKeys::score(const Tensor& query, const KeySets& sets, int64_t top,
                        const RowOptions& options) const {
  return motet::score(query, keys_, sets, top, options);
}

Row LocalKeys::attend(const Tensor& query, const KeySets& sets,
                      const std::optional<Tensor>& log_weight, const RowOptions& options) const {
  return motet::attend(query, keys_, values_, sets, log_weight, options);
}

std::optional<ChosenRows> LocalKeys::choose(const Tensor& query, const KeySets& sets,
                                            const PieceSets& meaning, const RowChoice& choice,
                                            const RowOptions& options) const {
  if (options.top > 0 || options.budget.wanted() || choice.pieces > meaning.pieces()) {
    return {};
  }
  auto arguments = checked("motet::read_rows", query, keys_, values_, sets, {}, options);
  if (!chooses(arguments) || wants_gradient(inputs_of(arguments))) {
    return {};
  }
  arguments.choice = {.first = meaning.piece(0), .sets = meaning.pieces(), .keep = choice.pieces};
  arguments.top = choice.top;
  const at::NoGradGuard no_grad;
  const auto result = compute(arguments);
  return ChosenRows{{result.out, result.lse, result.entropy, result.set_lse, result.set_entropy},
                    result.log_weight};
}

namespace {

/// What `made` makes of the keys of each set, span by span.
template <class Sum, class Make>
std::vector<Sum> sums_of(const std::vector<Tensor>& keys, const KeySets& sets, Make made) {
  std::vector<Sum> of_sets(sets.sets());
  for (const auto& span : sets.spans()) {
    const auto [tensor, first] = place_in(keys, span.first_key);
    of_sets[span.set] += made(keys[tensor].slice(2, first, first + span.keys));
  }
  return of_sets;
}

}  // namespace

std::vector<KeyMoments> LocalKeys::moments(const KeySets& sets) const {
  return sums_of<KeyMoments>(keys_, sets, moments_of);
}

std::vector<KeyBounds> LocalKeys::bounds(const KeySets& sets) const {
  return sums_of<KeyBounds>(keys_, sets, bounds_of);
}

}  // namespace motet
