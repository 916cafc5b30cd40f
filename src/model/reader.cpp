#include "motet/model/reader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "kernel/elementwise.h"
#include "model/ablator.h"
#include "model/pass.h"
#include "model/reader_pass.h"
#include "motet/context/layout.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

/// Throws Error unless `piece` can be read by this model behind this prefix, in a context of so
/// many positions.
void check_piece(const Decoder& model, const EncodedPiece& piece, const std::string& name,
                 const std::vector<int64_t>& prefix, int64_t reach) {
  if (piece.length() == 0) {
    return;
  }
  const auto& config = model.config();
  require(static_cast<int64_t>(piece.keys.size()) == config.layers &&
              piece.values.size() == piece.keys.size(),
          "motet::Reader: ", name, " holds keys of ", piece.keys.size(), " layers, the model has ",
          config.layers);
  const auto shape = std::vector<int64_t>{1, config.kv_heads, piece.length(), config.features};
  require(piece.keys[0].sizes() == shape, "motet::Reader: ", name, " holds keys of ",
          piece.keys[0].sizes(), ", the model makes ", torch::IntArrayRef(shape));
  require(piece.keys[0].scalar_type() == model.dtype(), "motet::Reader: ", name, " holds keys of ",
          piece.keys[0].scalar_type(), ", the model is ", model.dtype());
  require(
      !piece.origin.model.empty(), "motet::Reader: ", name,
      " does not say which model made it; set its `origin` to the fingerprint of that model and "
      "the tokens of the prefix that it saw");
  require(piece.origin.model == model.fingerprint(), "motet::Reader: ", name,
          " was encoded by another model, or by this one with other weights (fingerprint ",
          piece.origin.model.substr(0, 12), ", this one has ", model.fingerprint().substr(0, 12),
          "); encode it again, or set its `origin` where that is meant");
  require(piece.origin.prefix == prefix, "motet::Reader: ", name, " saw a prefix of ",
          piece.origin.prefix.size(), " tokens, which is not the context's of ", prefix.size(),
          "; encode it again behind that");
  require(piece.origin.long_factors == config.takes_long_factors(reach), "motet::Reader: ", name,
          " was encoded with LongRope's ", piece.origin.long_factors ? "long" : "short",
          " factors, which a context of ", reach,
          " positions does not have; encode all of its pieces with one ContextOptions::reach");
}

}  // namespace

void Reader::Own::append(const Tensor& more) {
  if (at::GradMode::is_enabled() && length == 0) {  // of a single pass, and kept for its gradient
    room = more;
    length = more.size(2);
    return;
  }
  const auto wanted = length + more.size(2);
  if (!room.defined() || wanted > room.size(2)) {
    const auto capacity = room.defined() ? std::max(wanted, 2 * room.size(2)) : wanted;
    auto larger = torch::empty({1, more.size(1), capacity, more.size(3)}, more.options());
    if (length > 0) {
      larger.slice(2, 0, length).copy_(filled());
    }
    room = larger;
  }
  copy_rows(more, room, length);
  length = wanted;
}

Reader::Reader(const Decoder& model, const EncodedContext& context, const Reading& reading,
               Probes probes, Ablation ablation)
    : model_(model),
      context_(context),
      reading_(reading),
      reach_(context.reach),
      probes_(std::move(probes)),
      ablator_(std::make_unique<Ablator>(std::move(ablation), model.config().layers,
                                         model.config().heads)) {
  reading.check(model.config().layers, model.config().heads);
  check_piece(model, context.prefix, "the prefix", {}, context.reach);
  for (std::size_t i = 0; i < context.pieces.size(); ++i) {
    const auto name = "piece " + std::to_string(i + 1);
    check_piece(model, context.pieces[i], name, context.prefix.tokens, context.reach);
    require(context.pieces[i].length() > 0, "motet::Reader: ", name, " is empty");
  }
}

Reader::Reader(const Reader& other, Probes probes, int64_t copies)
    : model_(other.model_),
      context_(other.context_),
      reading_(other.reading_),
      reach_(other.reach_),
      probes_(std::move(probes)),
      ablator_(std::make_unique<Ablator>(*other.ablator_)),
      rows_(other.rows_),
      bulks_(other.bulks_) {
  require(other.lengths_.size() == 1 && copies >= 1, "motet::Reader: ", copies, " copies of ",
          other.lengths_.size(), " queries; one query can be continued, in 1 way or more");
  lengths_.assign(copies, other.lengths_[0]);
  ablator_->repeat(copies);
  const auto copy = [copies](const std::vector<std::vector<Own>>& from,
                             std::vector<std::vector<Own>>& to) {
    for (const auto& layer : from) {
      auto& own = to.emplace_back();
      for (int64_t i = 0; i < copies; ++i) {
        own.push_back({layer[0].filled().clone(), layer[0].length});
      }
    }
  };
  copy(other.keys_, keys_);
  copy(other.values_, values_);
}

Reader::~Reader() = default;

const KeyEstimates* Reader::bulks(int64_t layer, const ScoreRule& rule) {
  const auto needs = reading_.needs().bulk;
  const bool bounded = needs && needs->mass == BulkMass::kBounded;
  if (!needs || !(bounded || needs->mass == BulkMass::kEstimated) || context_.pieces.empty()) {
    return nullptr;
  }
  bulks_.resize(model_.config().layers);
  auto& bulks = bulks_[layer];
  if (bulks.empty()) {
    const bool wide = model_.dtype() == torch::kFloat64;
    const auto dtype = wide ? torch::kFloat64 : torch::kFloat32;
    const auto scale = rule.scale_of(model_.config().features);
    bulks = bounded
                ? model_bulks(*needs, bulk_bounds(context_, layer, needs->window), scale, dtype)
                : model_bulks(*needs, bulk_moments(context_, layer, needs->window), scale, dtype);
  }
  return &bulks;
}

Tensor Reader::read(std::span<const std::vector<int64_t>> queries) {
  const at::NoGradGuard no_grad;
  return run(queries);
}

Reader::Part Reader::begin(std::span<const std::vector<int64_t>> queries) {
  require(!queries.empty(), "motet::Reader: no queries");
  require(lengths_.empty() || queries.size() == lengths_.size(), "motet::Reader: ", queries.size(),
          " queries after a batch of ", lengths_.size());
  const auto lengths = lengths_.empty() ? std::vector<int64_t>(queries.size(), 0) : lengths_;
  Part part;
  std::vector<int64_t> offsets{0};
  auto key_positions = context_.positions();
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const auto rows = static_cast<int64_t>(queries[i].size());
    part.rows.push_back(rows);
    offsets.push_back(offsets.back() + rows);
    part.tokens.insert(part.tokens.end(), queries[i].begin(), queries[i].end());
    for (int64_t t = 0; t < lengths[i] + rows; ++t) {
      key_positions.push_back(context_.query_position + t);
      if (t >= lengths[i]) {
        part.positions.push_back(context_.query_position + t);
      }
    }
  }
  require(!part.tokens.empty(), "motet::Reader: the ",
          queries.size() == 1 ? "query has" : "queries have", " no tokens");
  check_tokens("motet::Reader", model_, as_tensor(part.tokens));
  check_positions("motet::Reader", model_, part.positions,
                  "a query that starts at position " + std::to_string(context_.query_position));
  const auto last = *std::max_element(part.positions.begin(), part.positions.end());
  // Other queries of the batch may have reached further before.
  const auto reach = std::max(rows_ > 0 ? reach_ : context_.reach, last + 1);
  const bool begun = rows_ > 0 || context_.tokens() > 0;
  const auto& config = model_.config();
  require(!begun || config.takes_long_factors(reach) == config.takes_long_factors(reach_),
          "motet::Reader: position ", reach - 1,
          " takes LongRope's long factors, but what it reads was encoded for ", reach_,
          " positions, with the short ones; tell encode, or the EncodedContext, of the `reach` "
          "that is wanted");
  auto sets = read_sets(context_.prefix.length(), context_.piece_lengths(), part.rows, lengths);
  part.pass = std::make_unique<Pass>(*this, std::move(sets), std::move(key_positions),
                                     part.positions, std::move(offsets), reach);
  return part;
}

void Reader::make_room(std::size_t queries, int64_t reach) {
  if (lengths_.empty()) {
    lengths_.assign(queries, 0);
    keys_.assign(model_.config().layers, std::vector<Own>(queries));
    values_ = keys_;
  }
  reach_ = reach;
}

void Reader::end(const Part& part) {
  for (std::size_t i = 0; i < part.rows.size(); ++i) {
    lengths_[i] += part.rows[i];
    rows_ += part.rows[i];
  }
}

Tensor Reader::run(std::span<const std::vector<int64_t>> queries) {
  auto* self = this;
  const Queries mine(queries.begin(), queries.end());
  return run(std::span(&self, 1), std::span(&mine, 1))[0];
}

std::vector<Tensor> Reader::run(std::span<Reader* const> readers,
                                std::span<const Queries> queries) {
  const auto& model = readers[0]->model_;
  const auto is_long = [&](const Part& part) {
    return model.config().takes_long_factors(part.pass->reach());
  };
  std::vector<Part> parts;
  for (std::size_t i = 0; i < readers.size(); ++i) {
    parts.push_back(readers[i]->begin(queries[i]));
    require(is_long(parts[i]) == is_long(parts[0]), "motet::read_together: reader ", i + 1,
            " reaches position ", parts[i].pass->reach() - 1, ", the first one ",
            parts[0].pass->reach() - 1,
            ": LongRope's long factors in one, its short ones in the "
            "other; read them by themselves");
  }
  for (std::size_t i = 0; i < readers.size(); ++i) {
    readers[i]->make_room(queries[i].size(), parts[i].pass->reach());
  }
  const auto forward = [&](Together& together) {
    return model.forward(as_tensor(together.tokens()), together.positions(), together).squeeze(0);
  };
  Together first(parts, [](const Part& part) { return part.pass->reading().is_first_pass(); });
  if (!first.parts().empty()) {
    const at::NoGradGuard no_grad;
    forward(first);
    for (auto* part : first.parts()) {
      part->pass->reading().end_first_pass();
    }
  }
  Together all(parts, [](const Part&) { return true; });
  auto rows = all.split(forward(all));
  for (std::size_t i = 0; i < readers.size(); ++i) {
    readers[i]->end(parts[i]);
  }
  return rows;
}

std::optional<int64_t> Reader::positions_left() const {
  if (!model_.config().learned_positions()) {
    return {};
  }
  const auto longest = lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
  return std::max<int64_t>(0, model_.config().positions - context_.query_position - longest);
}

Tensor Reader::read(const std::vector<int64_t>& query) { return read(std::span(&query, 1)); }

std::vector<Tensor> read_together(std::span<Reader* const> readers,
                                  std::span<const Reader::Queries> queries) {
  require(readers.size() == queries.size(), "motet::read_together: ", readers.size(),
          " readers, queries for ", queries.size());
  if (readers.empty()) {
    return {};
  }
  for (std::size_t i = 0; i < readers.size(); ++i) {
    require(&readers[i]->model_ == &readers[0]->model_, "motet::read_together: reader ", i + 1,
            " is of another model than the first");
    require(std::find(readers.begin(), readers.begin() + i, readers[i]) == readers.begin() + i,
            "motet::read_together: reader ", i + 1, " comes twice; copy it");
  }
  const at::NoGradGuard no_grad;
  return Reader::run(readers, queries);
}

Tensor read_differentiable(const Decoder& model, const EncodedContext& context,
                           const std::vector<int64_t>& query, const Reading& reading,
                           const Probes& probes, const Ablation& ablation) {
  return Reader(model, context, reading, probes, ablation).run(std::span(&query, 1));
}

Tensor read(const Decoder& model, const EncodedContext& context, const std::vector<int64_t>& query,
            const Reading& reading, const Probes& probes, const Ablation& ablation) {
  Reader reader(model, context, reading, probes, ablation);
  const auto hidden = reader.read(query);
  const at::NoGradGuard no_grad;
  return model.logits(hidden);
}

}  // namespace motet
