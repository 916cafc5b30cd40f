#include "motet/reading/select.h"

#include <ATen/ATen.h>

#include <utility>

#include "attention/infinity.h"
#include "attention/merging.h"
#include "motet/error.h"
#include "motet/reading/registry.h"
#include "reading/shipped.h"

namespace motet {
namespace {

using torch::Tensor;
using Decision = std::optional<Tensor>;

/// The sum of the `count` largest along the last dimension (of all, where fewer).
Tensor sum_of_largest(const Tensor& x, int64_t count) {
  return count < x.size(-1) ? std::get<0>(x.topk(count, -1)).sum(-1) : x.sum(-1);
}

}  // namespace

Tensor piece_scores(const PieceScores& scores, int64_t top) {
  // A piece with a score of NaN is NaN, which is above all others, but no other piece is.
  const auto sets = scores.lse.masked_fill(scores.lse.isnan(), -kInfinity);
  // A row that sees no key at all has probability 0 everywhere.
  const auto from = finite_log_sum(sets).unsqueeze(-1);
  return sum_of_largest((scores.sets.pieces_in(scores.top) - from).exp(), top);
}

Tensor choose_pieces(const PieceScores& scores, const RowChoice& choice) {
  return *Select({.pieces = choice.pieces, .top = choice.top}).decide(scores);
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

Decision Select::decide(const PieceScores& scores) const {
  require(!options_.layers,
          "motet::Select: a choice that all layers share needs the scores of all "
          "layers; use decide_layers");
  return decide_layers({scores})[0];
}

std::vector<Decision> Select::decide_layers(const std::vector<PieceScores>& layers) const {
  TORCH_INTERNAL_ASSERT(!layers.empty());
  const auto& sets = layers[0].sets;
  const auto pieces = sets.pieces();
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
    sets.pieces_in(*decisions.back()).copy_(log_weight[static_cast<int64_t>(layer)]);
  }
  return decisions;
}

ReadingNeeds Select::needs() const {
  ReadingNeeds needs{.scores = true, .top = options_.top, .layers = options_.layers};
  needs.kept = options_.pieces;
  if (!options_.layers && !options_.heads && !options_.rows) {
    needs.choice = RowChoice{.pieces = options_.pieces, .top = options_.top};
  }
  return needs;
}

ReadingKind select_kind() {
  return {.name = "select",
          .usage = "select[:K[:OVER]] (OVER: any of layers+heads+rows)",
          .make =
              [](const ReadingText& text) {
                text.at_most(2);
                SelectOptions options;
                options.pieces = text.number(0, options.pieces);
                for (const auto& dimension : text.words(1, '+')) {
                  auto* over = dimension == "layers"  ? &options.layers
                               : dimension == "heads" ? &options.heads
                               : dimension == "rows"  ? &options.rows
                                                      : nullptr;
                  if (over == nullptr) {
                    text.fail("'" + dimension + "' is not a dimension");
                  }
                  *over = true;
                }
                return std::make_shared<Select>(options);
              },
          .mode = "selective",
          .mode_with_prefix = "both"};
}

}  // namespace motet
