#include "motet/reading/reading.h"

#include <ATen/ATen.h>

#include <charconv>
#include <cmath>
#include <map>
#include <utility>

#include "attention/infinity.h"
#include "kernel/checked.h"
#include "kernel/compute.h"
#include "motet/error.h"
#include "motet/reading/adaptive.h"
#include "reading/window_rows.h"

namespace motet {
namespace {

using torch::Tensor;
using Decision = std::optional<Tensor>;

constexpr int64_t kTop = 5;  // PCE's r

/// The sum of the `count` largest along the last dimension (of all, where fewer).
Tensor sum_of_largest(const Tensor& x, int64_t count) {
  return count < x.size(-1) ? std::get<0>(x.topk(count, -1)).sum(-1) : x.sum(-1);
}

int64_t pieces_of(const Scores& scores) { return scores.lse.size(3) - 2; }

/// lse of each piece, [batch, heads, query, pieces].
Tensor piece_lse(const Scores& scores) { return scores.lse.slice(3, 1, 1 + pieces_of(scores)); }

/// The sum of each piece's largest probabilities, over everything the row sees: [batch, heads,
/// query, pieces]. PCE section 5.2.
Tensor piece_scores(const Scores& scores, int64_t top) {
  // A piece with a score of NaN is NaN, which is above all others, but no other piece is.
  const auto sets = scores.lse.masked_fill(scores.lse.isnan(), -kInfinity);
  const auto lse = sets.logsumexp(3, true).unsqueeze(-1);
  // A row that sees no key at all has probability 0 everywhere.
  const auto from = lse.masked_fill(lse == -kInfinity, 0);
  const auto probabilities = (scores.top.slice(3, 1, 1 + pieces_of(scores)) - from).exp();
  return sum_of_largest(probabilities, top);
}

/// Log weights of pieces, with 0 for prefix and own. A piece without keys has nothing to shift.
Tensor for_pieces(const Scores& scores, const Tensor& log_weight) {
  auto all = torch::zeros_like(scores.lse);
  all.slice(3, 1, 1 + pieces_of(scores))
      .copy_(log_weight.masked_fill(piece_lse(scores) == -kInfinity, 0));
  return all;
}

void require_positive(const char* where, const char* what, double value) {
  require(std::isfinite(value) && value > 0, where, ": ", what, " = ", value,
          "; it is finite and above 0");
}

/// "0.5", as short as it can be said.
std::string text_of(double value) {
  char text[32];
  const auto [end, error] = std::to_chars(std::begin(text), std::end(text), value);
  TORCH_INTERNAL_ASSERT(error == std::errc());
  return {text, end};
}

}  // namespace

std::vector<Decision> Reading::decide_layers(const std::vector<Scores>& scores) const {
  std::vector<Decision> decisions;
  for (const auto& layer : scores) {
    decisions.push_back(decide(layer));
  }
  return decisions;
}

Select::Select(SelectOptions options) : options_(options) {
  require(options.pieces >= 1, "motet::Select: pieces = ", options.pieces, "; at least 1 is kept");
  require(options.top >= 1, "motet::Select: top = ", options.top,
          "; a piece's score is the sum of at least 1 probability");
}

std::string Select::name() const {
  auto name = "select(K=" + std::to_string(options_.pieces) + ", r=" + std::to_string(options_.top);
  std::string over;
  const auto add = [&](bool wanted, const char* what) {
    over += wanted ? (over.empty() ? ", over " : "+") + std::string(what) : "";
  };
  add(options_.layers, "layers");
  add(options_.heads, "heads");
  add(options_.rows, "rows");
  return name + over + ")";
}

Decision Select::decide(const Scores& scores) const {
  require(!options_.layers,
          "motet::Select: a choice that all layers share needs the scores of all "
          "layers; use decide_layers");
  return decide_layers({scores})[0];
}

std::vector<Decision> Select::decide_layers(const std::vector<Scores>& layers) const {
  TORCH_INTERNAL_ASSERT(!layers.empty());
  const auto pieces = pieces_of(layers[0]);
  require(options_.pieces <= pieces, "motet::Select: K = ", options_.pieces, " of ", pieces,
          " pieces cannot be kept; choose a smaller K or more pieces");
  const at::NoGradGuard no_grad;  // a choice is constant
  std::vector<Tensor> scores;
  for (const auto& layer : layers) {
    scores.push_back(piece_scores(layer, options_.top));
  }
  const auto all = torch::stack(scores);  // [layers, batch, heads, query, pieces]
  std::vector<int64_t> shared, apart;     // dimensions that are flattened together, or not
  for (const auto& [dimension, together] : {std::pair<int64_t, bool>{0, options_.layers},
                                            {1, false},
                                            {2, options_.heads},
                                            {3, options_.rows}}) {
    (together ? shared : apart).push_back(dimension);
  }
  const auto log_weight = torch::full_like(all, -kInfinity);
  // Rows of different queries never share.
  const auto queries = options_.rows ? layers[0].queries : std::vector<int64_t>{0, all.size(3)};
  for (std::size_t i = 0; i + 1 < queries.size(); ++i) {
    const auto query = all.slice(3, queries[i], queries[i + 1]);
    auto score = query;
    if (!shared.empty()) {
      auto order = apart;
      order.push_back(4);
      order.insert(order.end(), shared.begin(), shared.end());
      auto flat = query.permute(order);
      flat = sum_of_largest(flat.flatten(static_cast<int64_t>(apart.size()) + 1), options_.top);
      for (const auto dimension : shared) {
        flat = flat.unsqueeze(dimension);  // rising, so that each comes to its place
      }
      score = flat.expand_as(query);
    }
    // Stable, so that ties go to the lower index.
    const auto order =
        std::get<1>(score.contiguous().sort(/*stable=*/true, 4, /*descending=*/true));
    log_weight.slice(3, queries[i], queries[i + 1])
        .scatter_(4, order.slice(4, 0, options_.pieces), 0.0);
  }
  std::vector<Decision> decisions;
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    decisions.emplace_back(torch::zeros_like(layers[layer].lse));
    decisions.back()->slice(3, 1, 1 + pieces).copy_(log_weight[static_cast<int64_t>(layer)]);
  }
  return decisions;
}

std::optional<RowChoice> Select::row_choice() const {
  if (options_.layers || options_.heads || options_.rows) {
    return {};
  }
  return RowChoice{.pieces = options_.pieces, .top = options_.top};
}

Soft::Soft(double temperature) : temperature_(temperature) {
  require_positive("motet::Soft", "temperature", temperature);
}

std::string Soft::name() const { return "soft(T=" + text_of(temperature_) + ")"; }

ReadingNeeds Soft::needs() const { return {.scores = true, .top = kTop}; }

Decision Soft::decide(const Scores& scores) const {
  constexpr double kLeast = 1e-5;
  const auto lse = piece_lse(scores);
  const auto none = lse == -kInfinity;
  const auto logits = ((piece_scores(scores, kTop) + kLeast).log() / temperature_)
                          .masked_fill(none, -kInfinity);  // what has no keys takes no share
  return for_pieces(scores, logits.log_softmax(3) + lse.logsumexp(3, true) - lse);
}

Sharpen::Sharpen(double exponent) : exponent_(exponent) {
  require_positive("motet::Sharpen", "exponent", exponent);
}

std::string Sharpen::name() const { return "sharpen(b=" + text_of(exponent_) + ")"; }

Decision Sharpen::decide(const Scores& scores) const {
  const auto lse = piece_lse(scores);
  const auto total = (exponent_ * lse).logsumexp(3, true);
  return for_pieces(scores, (exponent_ - 1) * lse - (1 - 1 / exponent_) * total);
}

Discount::Discount(double c) : c_(c) {
  require(std::isfinite(c), "motet::Discount: c = ", c, "; it is finite");
}

std::string Discount::name() const { return "discount(c=" + text_of(c_) + ")"; }

Decision Discount::decide(const Scores& scores) const {
  const auto pieces = std::max<int64_t>(1, pieces_of(scores));
  return for_pieces(
      scores, torch::full_like(piece_lse(scores), -c_ * std::log(static_cast<double>(pieces))));
}

Temper::Temper(double temperature, double scale) : temperature_(temperature), scale_(scale) {
  require_positive("motet::Temper", "temperature", temperature);
  require_positive("motet::Temper", "scale", scale);
}

std::string Temper::name() const {
  return "temper(T=" + text_of(temperature_) + ", S=" + text_of(scale_) + ")";
}

KeySets Temper::prepare(KeySets sets) const {
  for (int64_t piece = 1; piece + 1 < sets.sets(); ++piece) {
    sets = sets.with_factor(piece, 1 / temperature_);
  }
  return sets;
}

Decision Temper::decide(const Scores& scores) const {
  const auto lse = piece_lse(scores);
  const auto shift = (scale_ * temperature_ - 1) * lse.logsumexp(3, true);
  return for_pieces(scores, shift.expand_as(lse));
}

TopK::TopK(int64_t keys) : keys_(keys) {
  require(keys >= 1, "motet::TopK: keys = ", keys, "; a row keeps at least 1");
}

std::string TopK::name() const { return "topk(k=" + std::to_string(keys_) + ")"; }

std::shared_ptr<Reading> reading_named(std::string_view text) {
  std::vector<std::string> parts;
  for (std::size_t first = 0; first <= text.size();) {
    const auto last = std::min(text.find(':', first), text.size());
    parts.emplace_back(text.substr(first, last - first));
    first = last + 1;
  }
  const auto wrong = [&](const auto&... why) {
    fail("the reading '", text, "': ", why...,
         "; there are all, select[:K[:OVER]] (OVER: any of layers+heads+rows), soft[:T], "
         "sharpen[:B], discount[:C], temper[:T[:S]], topk:K and adaptive[:TAU[:full or "
         "diagonal[:mixture]]]");
  };
  const auto number = [&]<class Number>(std::size_t i, Number otherwise) {
    if (i >= parts.size()) {
      return otherwise;
    }
    Number value{};
    const auto* end = parts[i].data() + parts[i].size();
    const auto [last, error] = std::from_chars(parts[i].data(), end, value);
    if (error != std::errc() || last != end) {
      wrong("'", parts[i], "' is not a number");
    }
    return value;
  };
  const auto most = [&](std::size_t options) {
    if (parts.size() > 1 + options) {
      wrong(parts.size() - 1, " options");
    }
  };
  const auto name = parts[0];
  if (name == "all") {
    most(0);
    return std::make_shared<All>();
  }
  if (name == "select") {
    most(2);
    SelectOptions options;
    options.pieces = number(1, options.pieces);
    const std::map<std::string_view, bool SelectOptions::*> dimensions{
        {"layers", &SelectOptions::layers},
        {"heads", &SelectOptions::heads},
        {"rows", &SelectOptions::rows}};
    for (std::size_t first = 0; parts.size() > 2 && first <= parts[2].size();) {
      const auto last = std::min(parts[2].find('+', first), parts[2].size());
      const auto found = dimensions.find(std::string_view(parts[2]).substr(first, last - first));
      if (found == dimensions.end()) {
        wrong("'", parts[2].substr(first, last - first), "' is not a dimension");
      }
      options.*(found->second) = true;
      first = last + 1;
    }
    return std::make_shared<Select>(options);
  }
  if (name == "soft") {
    most(1);
    return std::make_shared<Soft>(number(1, 1.0));
  }
  if (name == "sharpen") {
    most(1);
    return std::make_shared<Sharpen>(number(1, 4.0));
  }
  if (name == "discount") {
    most(1);
    return std::make_shared<Discount>(number(1, 1.0));
  }
  if (name == "temper") {
    most(2);
    return std::make_shared<Temper>(number(1, 0.9), number(2, 0.9));
  }
  if (name == "topk") {
    most(1);
    if (parts.size() == 1) {
      wrong("how many keys a row keeps is not given");
    }
    return std::make_shared<TopK>(number(1, int64_t{0}));
  }
  if (name == "adaptive") {
    most(3);
    AdaptiveOptions options;
    options.tau = number(1, options.tau);
    const auto covariance = parts.size() > 2 ? parts[2] : "full";
    if (covariance != "full" && covariance != "diagonal") {
      wrong("the covariance '", covariance, "' is not full or diagonal");
    }
    options.covariance = covariance == "full" ? Covariance::kFull : Covariance::kDiagonal;
    if (parts.size() > 3 && parts[3] != "mixture") {
      wrong("'", parts[3], "' is not mixture");
    }
    options.mixture = parts.size() > 3;
    return std::make_shared<Adaptive>(options);
  }
  wrong("no such name");
  return nullptr;
}

ReadRows read_rows(const Reading& reading, const Tensor& query, torch::TensorList keys,
                   torch::TensorList values, const KeySets& sets,
                   const std::vector<int64_t>& queries, const RowOptions& options, int64_t layer,
                   const KnownBulks& known) {
  if (const auto choice = reading.row_choice();
      choice && options.top == 0 && !options.budget.wanted()) {
    const auto prepared = reading.prepare(sets);
    auto arguments = checked("motet::read_rows", query, keys, values, prepared, {}, options);
    if (choice->pieces <= prepared.sets() - 2 && chooses(arguments) &&
        !wants_gradient(inputs_of(arguments))) {
      arguments.choice = {.first = 1, .sets = prepared.sets() - 2, .keep = choice->pieces};
      arguments.top = choice->top;
      const at::NoGradGuard no_grad;
      const auto result = compute(arguments);
      Row row{result.out, result.lse, result.entropy, result.set_lse, result.set_entropy};
      return {std::move(row), result.log_weight, options.threshold};
    }
  }
  auto wanted = options;
  const auto prepared = reading.prepare(sets);
  const auto needs = reading.needs();
  require(!needs.layers, "motet::read_rows: ", reading.name(),
          " decides for all layers at once; a Reader makes the pass that it needs");
  if (needs.bulk) {
    return read_window_rows(reading, query, keys, values, prepared, queries, options, layer, known);
  }
  Scores scores;
  if (needs.scores || needs.top > 0 || needs.budget.wanted()) {
    scores = score(query, keys, prepared, needs.top,
                   {.rule = options.rule, .threshold = options.threshold, .budget = needs.budget});
    scores.queries = queries;
    scores.layer = layer;
  }
  const auto log_weight = reading.decide(scores);
  if (const auto threshold = reading.threshold(scores)) {
    wanted.threshold =
        options.threshold ? torch::maximum(*options.threshold, *threshold) : *threshold;
  }
  return {attend(query, keys, values, prepared, log_weight, wanted), log_weight, wanted.threshold};
}

}  // namespace motet
