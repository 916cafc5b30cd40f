#include "motet/reading/read_rows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "attention/infinity.h"
#include "motet/error.h"
#include "motet/reading/select.h"

namespace motet {
namespace {

using torch::Tensor;

/// The lse of bulks as a reading wants to know it, [batch, heads, query, pieces or 1].
Tensor bulk_lse(const Reading& reading, const WindowSets& sets, const QueryRows& rows,
                const KeySource& keys, const ScoreRule& rule,
                const std::vector<GaussianKeys>* estimates) {
  const auto needs = *reading.needs().bulk;
  if (needs.mass == BulkMass::kNothing) {
    return {};
  }
  if (needs.mass == BulkMass::kTrue) {
    const auto scores = keys.score(rows.query, sets.bulk, 0, {.rule = rule, .entropy = false});
    const auto lse = sets.meaning.bulks_in(scores.lse);
    return needs.by_piece ? lse : lse.logsumexp(3, true);
  }
  require(!rule.cap && !sets.bulk.hides_first_keys(), "motet::read_rows: ", reading.name(),
          " estimates the mass of keys that all rows see, from scores without a soft cap; layer ",
          rows.layer, " has a ", rule.cap ? "soft cap" : "window",
          ": choose a reading that decides otherwise");
  std::vector<GaussianKeys> made;
  if (estimates == nullptr) {
    const auto of_sets = keys.moments(sets.bulk);
    const auto first = of_sets.begin() + sets.meaning.bulk(0);
    const bool wide = rows.query.scalar_type() == torch::kFloat64;
    made = model_bulks(needs, {first, first + sets.meaning.pieces()},
                       rule.scale_of(rows.query.size(3)), wide ? torch::kFloat64 : torch::kFloat32);
    estimates = &made;
  }
  if (estimates->size() == 1) {
    return estimates->front().log_mass(rows.query).unsqueeze(3);
  }
  std::vector<Tensor> all;
  for (const auto& bulk : *estimates) {
    all.push_back(bulk.log_mass(rows.query));
  }
  return torch::stack(all, 3);
}

/// `read_rows` for readings that decide about bulks. `rows` have their sets prepared.
ReadRows read_window_rows(const Reading& reading, const QueryRows& rows, const KeySource& keys,
                          const PieceSets& meaning, const RowOptions& options,
                          const KnownBulks& known) {
  if (meaning.pieces() == 0) {
    return {keys.attend(rows.query, rows.sets, {}, options), {}, options.threshold, {}};
  }
  const auto window = reading.needs().bulk->window;
  auto split = known.sets != nullptr ? *known.sets : split_window(rows.sets, window);
  std::optional<Tensor> log_weight;
  {
    const at::NoGradGuard no_grad;
    PieceScores scores{
        keys.score(rows.query, split.window, 0, {.rule = options.rule, .entropy = false}),
        split.meaning, rows.queries, rows.layer};
    scores.bulk = bulk_lse(reading, split, rows, keys, options.rule, known.estimates);
    log_weight = reading.decide(scores).value_or(torch::zeros_like(scores.lse));
  }
  const auto row = keys.attend(rows.query, split.all, log_weight, options);
  auto joined = join_window(row, split.meaning);
  return {std::move(joined), {}, options.threshold, BulkRows{window, std::move(split), log_weight}};
}

}  // namespace

Tensor BulkRows::read() const { return sets.meaning.bulks_in(*log_weight) != -kInfinity; }

std::vector<GaussianKeys> model_bulks(const BulkNeeds& needs,
                                      const std::vector<KeyMoments>& moments, double scale,
                                      torch::ScalarType dtype) {
  std::vector<GaussianKeys> bulks;
  if (needs.by_piece) {
    for (const auto& piece : moments) {
      bulks.emplace_back(piece, needs.covariance, scale, dtype);
    }
    return bulks;
  }
  KeyMoments all;
  for (const auto& piece : moments) {
    all += piece;
  }
  bulks.emplace_back(all, needs.covariance, scale, dtype);
  return bulks;
}

ReadRows read_rows(const Reading& reading, const QueryRows& rows, const KeySource& keys,
                   const RowOptions& options, const KnownBulks& known) {
  const auto needs = reading.needs();
  require(!needs.layers, "motet::read_rows: ", reading.name(),
          " decides for all layers at once; a Reader makes the pass that it needs");
  const auto meaning = PieceSets::of_sets(rows.sets.sets());
  auto prepared = reading.prepare(rows.sets, meaning);
  if (needs.bulk) {
    return read_window_rows(reading, {rows.query, std::move(prepared), rows.queries, rows.layer},
                            keys, meaning, options, known);
  }
  if (needs.choice) {
    if (auto chosen = keys.choose(rows.query, prepared, meaning, *needs.choice, options)) {
      return {std::move(chosen->row), chosen->log_weight, options.threshold};
    }
  }
  PieceScores scores{{}, meaning, rows.queries, rows.layer};
  if (needs.scores || needs.top > 0 || needs.budget.wanted() || needs.choice) {
    const auto top = std::max(needs.top, needs.choice ? needs.choice->top : 0);
    static_cast<Scores&>(scores) =
        keys.score(rows.query, prepared, top,
                   {.rule = options.rule, .threshold = options.threshold, .budget = needs.budget});
  }
  const auto log_weight =
      needs.choice ? choose_pieces(scores, *needs.choice) : reading.decide(scores);
  auto wanted = options;
  if (const auto threshold = reading.threshold(scores)) {
    wanted.threshold =
        options.threshold ? torch::maximum(*options.threshold, *threshold) : *threshold;
  }
  return {keys.attend(rows.query, prepared, log_weight, wanted), log_weight, wanted.threshold};
}

ReadRows read_rows(const Reading& reading, const Tensor& query, torch::TensorList keys,
                   torch::TensorList values, const KeySets& sets,
                   const std::vector<int64_t>& queries, const RowOptions& options, int64_t layer,
                   const KnownBulks& known) {
  return read_rows(reading, {query, sets, queries, layer}, LocalKeys(keys, values), options, known);
}

}  // namespace motet
