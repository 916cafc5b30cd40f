#include "motet/model/reader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <string>
#include <utility>

#include "attention/infinity.h"
#include "model/ablator.h"
#include "model/layer_reading.h"
#include "model/pass.h"
#include "model/show.h"
#include "motet/context/layout.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

/// Log weights that keep own keys alone, for rows of one head.
Tensor own_alone(const Row& row, const PieceSets& meaning) {
  auto weight = torch::full_like(row.set_lse.narrow(1, 0, 1), -kInfinity);
  meaning.own_in(weight).zero_();
  return weight;
}

/// Has a decision say that a head read own keys alone.
void tell_own_alone(ReadRows& rows, int64_t head) {
  const auto meaning =
      rows.bulk ? rows.bulk->sets.meaning : PieceSets::of_sets(rows.row.set_lse.size(3));
  auto& log_weight = rows.bulk ? rows.bulk->log_weight : rows.log_weight;
  if (!log_weight) {
    log_weight = torch::zeros_like(rows.row.set_lse);
  }
  const auto of_head = log_weight->narrow(1, head, 1).fill_(-kInfinity);
  meaning.own_in(of_head).zero_();
  if (rows.threshold) {
    rows.threshold->narrow(1, head, 1).fill_(-kInfinity);
  }
}

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

/// The pass of one `read`.
class Reader::Pass : public Attention {
 public:
  /// `queries` as in Observation; positions are those of keys and rows.
  Pass(Reader& reader, KeySets sets, std::vector<int64_t> key_positions,
       std::vector<int64_t> row_positions, std::vector<int64_t> queries)
      : reader_(reader),
        reading_(reader.reading_),
        meaning_(PieceSets::of_sets(sets.sets())),
        sets_(reader.model_.config(), std::move(sets), std::move(key_positions),
              std::move(row_positions)),
        queries_(std::move(queries)),
        entropy_(needs_of(reader.probes_).entropy) {}

  Tensor attend(int64_t layer, const Tensor& query, const Tensor& keys, const Tensor& values,
                const ScoreRule& rule) override {
    const auto& sets = sets_.of(layer);
    const auto local = append(layer, keys, values);
    const RowOptions options{.rule = rule, .entropy = entropy_};
    const auto first = reading_.is_first_pass();
    auto rows =
        reading_.read(layer, query, sets, queries_, local, options, reader_.bulks(layer, rule));
    if (first) {  // its keys come again
      take_back(layer);
      return rows.row.out;
    }
    const auto own_only = [&](int64_t head) {
      const auto kv_head = head * keys.size(1) / query.size(1);
      return local.of_head(kv_head).attend(query.narrow(1, head, 1), *sets,
                                           own_alone(rows.row, meaning_), options);
    };
    for (const auto head : reader_.ablator_->apply(layer, queries_, rows.row, own_only)) {
      tell_own_alone(rows, head);
    }
    const auto& context = reader_.context_;
    show(reader_.probes_,
         {.layer = layer,
          .layers = reader_.model_.config().layers,
          .kind = RowKind::kQuery,
          .first_row = reader_.rows_,
          .queries = queries_,
          .prefix = context.prefix.length(),
          .pieces = context.piece_lengths(),
          .sets = meaning_,
          .visible = reading_.prepared(sets),
          .rule = rule},
         rows, query, local);
    return rows.row.out;
  }

  int64_t reach() const override { return reader_.reach_; }

  LayerReading& reading() { return reading_; }

 private:
  /// Keys and values of the layer: the context's, and the queries' own with these appended.
  LocalKeys append(int64_t layer, const Tensor& keys, const Tensor& values) {
    const auto& context = reader_.context_;
    std::vector<Tensor> all_keys, all_values;
    const auto add = [&](const EncodedPiece& piece) {
      all_keys.push_back(piece.keys[layer]);
      all_values.push_back(piece.values[layer]);
    };
    if (context.prefix.length() > 0) {
      add(context.prefix);
    }
    std::for_each(context.pieces.begin(), context.pieces.end(), add);
    for (std::size_t i = 0; i + 1 < queries_.size(); ++i) {
      auto &own_keys = reader_.keys_[layer][i], &own_values = reader_.values_[layer][i];
      own_keys.append(keys.slice(2, queries_[i], queries_[i + 1]));
      own_values.append(values.slice(2, queries_[i], queries_[i + 1]));
      all_keys.push_back(own_keys.filled());
      all_values.push_back(own_values.filled());
    }
    return {all_keys, all_values};
  }

  void take_back(int64_t layer) {
    for (std::size_t i = 0; i + 1 < queries_.size(); ++i) {
      reader_.keys_[layer][i].length -= queries_[i + 1] - queries_[i];
      reader_.values_[layer][i].length -= queries_[i + 1] - queries_[i];
    }
  }

  Reader& reader_;
  LayerReading reading_;
  PieceSets meaning_;
  LayerSets sets_;
  std::vector<int64_t> queries_;
  bool entropy_;
};

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
  room.slice(2, length, wanted).copy_(more);
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

const std::vector<GaussianKeys>* Reader::bulks(int64_t layer, const ScoreRule& rule) {
  const auto needs = reading_.needs().bulk;
  if (!needs || needs->mass != BulkMass::kEstimated || context_.pieces.empty()) {
    return nullptr;
  }
  bulks_.resize(model_.config().layers);
  auto& bulks = bulks_[layer];
  if (bulks.empty()) {
    const bool wide = model_.dtype() == torch::kFloat64;
    bulks = model_bulks(*needs, bulk_moments(context_, layer, needs->window),
                        rule.scale_of(model_.config().features),
                        wide ? torch::kFloat64 : torch::kFloat32);
  }
  return &bulks;
}

Tensor Reader::read(std::span<const std::vector<int64_t>> queries) {
  const at::NoGradGuard no_grad;
  return run(queries);
}

Tensor Reader::run(std::span<const std::vector<int64_t>> queries) {
  require(!queries.empty(), "motet::Reader: no queries");
  if (lengths_.empty()) {
    lengths_.assign(queries.size(), 0);
    keys_.assign(model_.config().layers, std::vector<Own>(queries.size()));
    values_ = keys_;
  }
  require(queries.size() == lengths_.size(), "motet::Reader: ", queries.size(),
          " queries after a batch of ", lengths_.size());
  std::vector<int64_t> tokens, positions, rows, offsets{0};
  auto key_positions = context_.positions();
  for (std::size_t i = 0; i < queries.size(); ++i) {
    rows.push_back(static_cast<int64_t>(queries[i].size()));
    offsets.push_back(offsets.back() + rows.back());
    tokens.insert(tokens.end(), queries[i].begin(), queries[i].end());
    for (int64_t t = 0; t < lengths_[i] + rows.back(); ++t) {
      key_positions.push_back(context_.query_position + t);
      if (t >= lengths_[i]) {
        positions.push_back(context_.query_position + t);
      }
    }
  }
  require(!tokens.empty(), "motet::Reader: the ",
          queries.size() == 1 ? "query has" : "queries have", " no tokens");
  check_positions("motet::Reader", model_, positions,
                  "a query that starts at position " + std::to_string(context_.query_position));
  const auto reach =
      std::max(context_.reach, *std::max_element(positions.begin(), positions.end()) + 1);
  const bool begun = rows_ > 0 || context_.tokens() > 0;
  const auto& config = model_.config();
  require(!begun || config.takes_long_factors(reach) == config.takes_long_factors(reach_),
          "motet::Reader: position ", reach - 1,
          " takes LongRope's long factors, but what it reads was encoded for ", reach_,
          " positions, with the short ones; tell encode, or the EncodedContext, of the `reach` "
          "that is wanted");
  reach_ = reach;
  auto sets = read_sets(context_.prefix.length(), context_.piece_lengths(), rows, lengths_);
  Pass pass(*this, std::move(sets), std::move(key_positions), positions, offsets);
  if (pass.reading().is_first_pass()) {
    const at::NoGradGuard no_grad;
    model_.forward(as_tensor(tokens), positions, pass);
    pass.reading().end_first_pass();
  }
  const auto hidden = model_.forward(as_tensor(tokens), positions, pass);
  for (std::size_t i = 0; i < queries.size(); ++i) {
    lengths_[i] += rows[i];
  }
  rows_ += offsets.back();
  return hidden.squeeze(0);
}

std::optional<int64_t> Reader::positions_left() const {
  if (!model_.config().learned_positions()) {
    return {};
  }
  const auto longest = lengths_.empty() ? 0 : *std::max_element(lengths_.begin(), lengths_.end());
  return std::max<int64_t>(0, model_.config().positions - context_.query_position - longest);
}

Tensor Reader::read(const std::vector<int64_t>& query) { return read(std::span(&query, 1)); }

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
