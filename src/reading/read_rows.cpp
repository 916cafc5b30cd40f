#include "motet/reading/read_rows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "attention/infinity.h"
#include "attention/merging.h"
#include "motet/error.h"
#include "motet/reading/select.h"
#include "reading/null_rows.h"

namespace motet {
namespace {

using torch::Tensor;

/// The moments of keys times a factor.
KeyMoments times(const KeyMoments& of, double factor) {
  return of.count == 0 ? of : KeyMoments{of.count, of.sum * factor, of.second * (factor * factor)};
}

/// The bounds of keys times a factor above 0.
KeyBounds times(const KeyBounds& of, double factor) {
  const auto scaled = [&](const Tensor& x) { return x.to(torch::kFloat64) * factor; };
  return of.low.defined() ? KeyBounds{scaled(of.low), scaled(of.high)} : of;
}

/// The lse of bulks as a reading wants to know it, [batch, heads, query, pieces or 1]. `options`
/// are those of their scores.
Tensor bulk_lse(const Reading& reading, const WindowSets& sets, const QueryRows& rows,
                const KeySource& keys, const RowOptions& options, const KeyEstimates* estimates) {
  const auto needs = *reading.needs().bulk;
  if (needs.mass == BulkMass::kNothing) {
    return {};
  }
  if (needs.mass == BulkMass::kTrue) {
    const auto scores = keys.score(rows.query, sets.bulk, 0, options);
    const auto lse = sets.meaning.bulks_in(scores.lse);
    return needs.by_piece ? lse : lse.logsumexp(3, true);
  }
  const auto& rule = options.rule;
  require(!rule.cap && !sets.bulk.hides_first_keys(), "motet::read_rows: ", reading.name(),
          " estimates the mass of keys that all rows see, from scores without a soft cap; layer ",
          rows.layer, " has a ", rule.cap ? "soft cap" : "window",
          ": choose a reading that decides otherwise");
  const bool wide = rows.query.scalar_type() == torch::kFloat64;
  const auto dtype = wide ? torch::kFloat64 : torch::kFloat32;
  std::vector<double> factors;  // on the scores of each bulk
  for (int64_t piece = 0; piece < sets.meaning.pieces(); ++piece) {
    factors.push_back(sets.bulk.factor(sets.meaning.bulk(piece)));
  }
  const bool alike =
      std::adjacent_find(factors.begin(), factors.end(), std::not_equal_to<>()) == factors.end();
  KeyEstimates made;
  if (estimates == nullptr || !(needs.by_piece || alike)) {
    const auto model = [&]<class Sum>(const std::vector<Sum>& of_sets) {
      std::vector<Sum> bulks;
      for (std::size_t piece = 0; piece < factors.size(); ++piece) {
        const auto& bulk = of_sets[sets.meaning.bulk(0) + piece];
        bulks.push_back(factors[piece] == 1 ? bulk : times(bulk, factors[piece]));
      }
      return model_bulks(needs, bulks, rule.scale_of(rows.query.size(3)), dtype);
    };
    made = needs.mass == BulkMass::kBounded ? model(keys.bounds(sets.bulk))
                                            : model(keys.moments(sets.bulk));
    estimates = &made;
    std::fill(factors.begin(), factors.end(), 1.0);
  }
  auto query = rows.query;
  if (options.factor) {
    query = query.to(dtype) * options.factor->to(query.device(), dtype).unsqueeze(-1);
  }
  std::vector<Tensor> all;
  for (std::size_t i = 0; i < estimates->size(); ++i) {
    const auto factor = factors[i];
    all.push_back((*estimates)[i]->log_mass(factor == 1 ? query : query.to(dtype) * factor));
  }
  return all.size() == 1 ? all[0].unsqueeze(3) : torch::stack(all, 3);
}

/// What the reading puts on all scores of each row.
std::optional<Tensor> factor_of(const Reading& reading, const QueryRows& rows,
                                const KeySource& keys, const PieceSets& meaning,
                                const RowOptions& options) {
  const auto wanted = reading.needs().factor;
  if (wanted == RowFactor::kNone) {
    return {};
  }
  RowKeys known{rows.sets, meaning, rows.query.size(3)};
  if (wanted == RowFactor::kEntropy) {
    const at::NoGradGuard no_grad;
    const auto scores = keys.score(rows.query, rows.sets, 0, {.rule = options.rule});
    const auto w = (scores.lse - finite(scores.row_lse).unsqueeze(3)).exp();
    known.entropy = (w * scores.entropy - times_log(w)).sum(3);
  }
  return reading.row_factor(known);
}

/// `read_rows` for readings that decide about bulks. `rows` have their sets prepared.
ReadRows read_window_rows(const Reading& reading, const QueryRows& rows, const KeySource& keys,
                          const PieceSets& meaning, const RowOptions& options,
                          const KnownBulks& known) {
  if (meaning.pieces() == 0) {
    return {.row = keys.attend(rows.query, rows.sets, {}, options),
            .threshold = options.threshold,
            .factor = options.factor};
  }
  const auto window = reading.needs().bulk->window;
  auto split = known.sets != nullptr ? *known.sets : split_window(rows.sets, window);
  std::optional<Tensor> log_weight;
  {
    const at::NoGradGuard no_grad;
    const RowOptions of_scores{.rule = options.rule,
                               .factor = options.factor,
                               .threshold = options.threshold,
                               .entropy = false};
    PieceScores scores{keys.score(rows.query, split.window, 0, of_scores), split.meaning,
                       rows.queries, rows.layer};
    scores.bulk = bulk_lse(reading, split, rows, keys, of_scores, known.estimates);
    log_weight = reading.decide(scores).value_or(torch::zeros_like(scores.lse));
  }
  const auto row = keys.attend(rows.query, split.all, log_weight, options);
  auto joined = join_window(row, split.meaning);
  return {.row = std::move(joined),
          .threshold = options.threshold,
          .factor = options.factor,
          .bulk = BulkRows{window, std::move(split), log_weight}};
}

}  // namespace

Tensor BulkRows::read() const { return sets.meaning.bulks_in(*log_weight) != -kInfinity; }

namespace {

/// An estimate of each bulk, or of all of them together.
template <class Estimate, class Sum, class... Options>
KeyEstimates estimates_of(const std::vector<Sum>& bulks, bool by_piece, Options... options) {
  KeyEstimates estimates;
  if (by_piece) {
    for (const auto& bulk : bulks) {
      estimates.push_back(std::make_shared<Estimate>(bulk, options...));
    }
    return estimates;
  }
  Sum all;
  for (const auto& bulk : bulks) {
    all += bulk;
  }
  estimates.push_back(std::make_shared<Estimate>(all, options...));
  return estimates;
}

}  // namespace

KeyEstimates model_bulks(const BulkNeeds& needs, const std::vector<KeyMoments>& moments,
                         double scale, torch::ScalarType dtype) {
  return estimates_of<GaussianKeys>(moments, needs.by_piece, needs.covariance, scale, dtype);
}

KeyEstimates model_bulks(const BulkNeeds& needs, const std::vector<KeyBounds>& bounds, double scale,
                         torch::ScalarType dtype) {
  return estimates_of<BoundedKeys>(bounds, needs.by_piece, scale, dtype);
}

ReadRows read_rows(const Reading& reading, const QueryRows& unprepared, const KeySource& keys,
                   const RowOptions& given, const KnownBulks& known) {
  const auto needs = reading.needs();
  needs.validate(reading.name());
  require(!needs.layers, "motet::read_rows: ", reading.name(),
          " decides for all layers at once; a Reader makes the pass that it needs");
  const auto meaning = PieceSets::of_sets(unprepared.sets.sets());
  const QueryRows rows{unprepared.query, reading.prepare(unprepared.sets, meaning),
                       unprepared.queries, unprepared.layer};
  auto options = given;
  if (const auto factor = factor_of(reading, rows, keys, meaning, options)) {
    options.factor = options.factor ? *options.factor * *factor : *factor;
  }
  if (needs.bulk) {
    return read_window_rows(reading, rows, keys, meaning, options, known);
  }
  // Of a choice without a budget no threshold is asked, so that few rows are read as many are.
  const bool has_threshold = !needs.choice || needs.budget.wanted();
  if (!has_threshold) {
    if (auto chosen = keys.choose(rows.query, rows.sets, meaning, *needs.choice, options)) {
      return {std::move(chosen->row), chosen->log_weight, options.threshold, options.factor};
    }
  }
  PieceScores scores{{}, meaning, rows.queries, rows.layer};
  if (needs.scores || needs.top > 0 || needs.budget.wanted() || needs.choice || needs.null) {
    const auto top = std::max(needs.top, needs.choice ? needs.choice->top : 0);
    static_cast<Scores&>(scores) = keys.score(rows.query, rows.sets, top,
                                              {.rule = options.rule,
                                               .factor = options.factor,
                                               .threshold = options.threshold,
                                               .budget = needs.budget});
    if (needs.null) {
      add_null(scores);
    }
  }
  auto log_weight = needs.choice ? choose_pieces(scores, *needs.choice) : reading.decide(scores);
  if (needs.null && !log_weight) {
    log_weight = torch::zeros_like(scores.lse);
  }
  if (const auto threshold = has_threshold ? reading.threshold(scores) : std::nullopt) {
    options.threshold =
        options.threshold ? torch::maximum(*options.threshold, *threshold) : *threshold;
  }
  return {attend_with_null(keys, rows.query, rows.sets, log_weight, options), log_weight,
          options.threshold, options.factor};
}

ReadRows read_rows(const Reading& reading, const Tensor& query, torch::TensorList keys,
                   torch::TensorList values, const KeySets& sets,
                   const std::vector<int64_t>& queries, const RowOptions& options, int64_t layer,
                   const KnownBulks& known) {
  return read_rows(reading, {query, sets, queries, layer}, LocalKeys(keys, values), options, known);
}

}  // namespace motet
