#include "motet/model/encode.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "model/ablator.h"
#include "model/recompute.h"
#include "motet/attention/probabilities.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

Tensor as_tensor(const std::vector<int64_t>& tokens) {
  return torch::tensor(tokens, torch::kInt64).unsqueeze(0);
}

void check_positions(const char* where, const Decoder& model, const std::vector<int64_t>& positions,
                     const std::string& what) {
  if (!model.config().learned_positions() || positions.empty()) {
    return;
  }
  const auto last = *std::max_element(positions.begin(), positions.end());
  require(last < model.config().positions, where, ": ", what, " needs ", last + 1,
          " positions, the model's table has ", model.config().positions,
          "; split the context into more pieces, or shorten it or the query");
}

/// What one layer's rows are shown to the probes as. `sets` as the reading prepared them.
void show(const Probes& probes, Observation seen, const ReadRows& read, const Tensor& query,
          torch::TensorList keys, torch::TensorList values, const KeySets& sets) {
  const auto& [row, log_weight, threshold, bulk] = read;
  const at::NoGradGuard no_grad;
  const auto needs = needs_of(probes);
  if (needs.rows) {
    seen.row = row;
    seen.log_weight = log_weight;
    seen.bulk = bulk;
  }
  if (needs.query_keys_values) {
    seen.query = query;
    seen.keys = keys.vec();
    seen.values = values.vec();
  }
  std::vector<int64_t> rows;  // of this pass
  for (const auto named : needs.named_rows) {
    const auto here = named - seen.first_row;
    if (seen.kind == RowKind::kQuery && here >= 0 && here < query.size(2)) {
      seen.named_rows.push_back(named);
      rows.push_back(here);
    }
  }
  if (!rows.empty()) {
    const RowOptions options{.rule = seen.rule, .threshold = threshold};
    seen.probabilities =
        bulk ? probabilities(query, keys, bulk->sets.all, bulk->log_weight, row.lse, rows, options)
             : probabilities(query, keys, sets, log_weight, row.lse, rows, options);
  }
  for (auto* probe : probes) {
    probe->observe(seen);
  }
}

/// The pass of `encode`: the packed row attends, and its keys and values are kept, piece by piece.
class EncodePass : public Attention {
 public:
  EncodePass(const Decoder& model, const Layout& layout, const Probes& probes,
             const ContextOptions& options, EncodedContext& context)
      : layers_(model.config().layers),
        sets_(encode_sets(layout)),
        layout_(layout),
        probes_(probes),
        options_(options),
        context_(context) {}

  Tensor attend(int64_t layer, const Tensor& query, const Tensor& keys, const Tensor& values,
                const ScoreRule& rule) override {
    const auto row = motet::attend(query, keys, values, sets_, {},
                                   {.rule = rule, .entropy = needs_of(probes_).entropy});
    int64_t first = 0;
    const auto keep = [&](EncodedPiece& piece) {
      const auto last = first + piece.length();
      piece.keys.push_back(keys.slice(2, first, last).contiguous());
      piece.values.push_back(values.slice(2, first, last).contiguous());
      first = last;
    };
    keep(context_.prefix);
    for (auto& piece : context_.pieces) {
      keep(piece);
      if (options_.moments) {
        piece.moments.push_back(moments_of(piece.keys.back()));
      }
    }
    show(probes_,
         {.layer = layer,
          .layers = layers_,
          .kind = RowKind::kContext,
          .queries = {0, sets_.rows()},
          .prefix = layout_.prefix,
          .pieces = layout_.pieces,
          .rule = rule},
         {row, {}, {}}, query, keys, values, sets_);
    return row.out;
  }

 private:
  int64_t layers_;
  KeySets sets_;
  const Layout& layout_;
  const Probes& probes_;
  const ContextOptions& options_;
  EncodedContext& context_;
};

/// How the rows of a query are read, layer by layer. A reading that decides for all layers at once
/// has a first pass, whose rows read `all` and are shown to nobody.
class LayerReading {
 public:
  explicit LayerReading(const Reading& reading)
      : reading_(reading), first_(reading.needs().layers) {}

  bool is_first_pass() const { return first_; }
  void end_first_pass() {
    decided_ = reading_.decide_layers(scores_);
    first_ = false;
  }

  ReadRows read(int64_t layer, const Tensor& query, torch::TensorList keys,
                torch::TensorList values, const KeySets& sets, const std::vector<int64_t>& queries,
                RowOptions options, const std::vector<GaussianKeys>* bulks = nullptr) {
    if (first_) {
      options.top = reading_.needs().top;
      options.entropy = true;
      const auto row = attend(query, keys, values, sets, {}, options);
      scores_.push_back({.lse = row.set_lse,
                         .entropy = row.set_entropy,
                         .top = row.set_top,
                         .queries = queries,
                         .layer = layer,
                         .row_lse = row.lse});
      return {row, {}, {}};
    }
    if (!decided_.empty()) {
      const auto& log_weight = decided_.at(layer);
      return {
          attend(query, keys, values, reading_.prepare(sets), log_weight, options), log_weight, {}};
    }
    const auto& bulk = reading_.needs().bulk;
    if (bulk && !split_) {
      split_ = split_window(reading_.prepare(sets), bulk->window);
    }
    return read_rows(reading_, query, keys, values, sets, queries, options, layer,
                     {.estimates = bulks, .sets = split_ ? &*split_ : nullptr});
  }

 private:
  const Reading& reading_;
  bool first_;
  std::optional<WindowSets> split_;  // the sets of every layer
  std::vector<Scores> scores_;       // of each layer, in the first pass
  std::vector<std::optional<Tensor>> decided_;
};

/// The pass of `forward`: context rows as they are, query rows as the reading decides. Its blocks
/// may be computed again long after `forward` has returned.
class PackedPass : public Attention, public std::enable_shared_from_this<PackedPass> {
 public:
  PackedPass(const Decoder& model, const Layout& layout, int64_t query, const Reading& reading,
             const Probes& probes, const ForwardOptions& options)
      : layers_(model.config().layers),
        context_rows_(layout.tokens()),
        layout_(layout),
        encode_(encode_sets(layout)),
        read_(read_sets(layout.prefix, layout.pieces, {query}, {0})),
        kept_reading_(options.checkpoint ? reading.copy() : nullptr),
        reading_(options.checkpoint ? *kept_reading_ : reading),
        prepared_(reading.prepare(read_)),
        probes_(probes),
        options_(options) {}

  LayerReading& reading() { return reading_; }

  Tensor run(const std::shared_ptr<Block>& block, const Tensor& x,
             const Rotation& rotation) override {
    if (reading_.is_first_pass()) {
      return block->forward(x, rotation, *this);
    }
    const bool again = options_.checkpoint && at::GradMode::is_enabled();
    auto out = again ? checkpoint(std::make_shared<Again>(shared_from_this(), block, rotation), x)
                     : outputs(*block, x, rotation);
    if (options_.penalty != nullptr) {
      penalties_.push_back(out.size() > 1 ? out[1] : Tensor());
    }
    return out[0];
  }

  Tensor attend(int64_t layer, const Tensor& query, const Tensor& keys, const Tensor& values,
                const ScoreRule& rule) override {
    const auto needs = options_.penalty != nullptr && !reading_.is_first_pass()
                           ? options_.penalty->needs(layer, layers_)
                           : PenaltyNeeds();
    const RowOptions options{.rule = rule,
                             .entropy = needs_of(probes_).entropy || needs.entropy,
                             .budget = needs.budget};
    const auto context = [&](const Tensor& x) { return x.slice(2, 0, context_rows_); };
    const auto observation = [&](RowKind kind, int64_t rows) {
      return Observation{.layer = layer,
                         .layers = layers_,
                         .kind = kind,
                         .queries = {0, rows},
                         .prefix = layout_.prefix,
                         .pieces = layout_.pieces,
                         .rule = rule};
    };
    const auto measure = [&](const PenaltyRows& rows) {
      if (needs.any()) {
        const auto more = options_.penalty->measure(rows);
        penalty_ = penalty_.defined() ? penalty_ + more : more;
      }
    };
    std::vector<Tensor> outs;
    if (context_rows_ > 0) {
      const auto row =
          motet::attend(context(query), context(keys), context(values), encode_, {}, options);
      if (!reading_.is_first_pass()) {
        show(probes_, observation(RowKind::kContext, context_rows_), {row, {}, {}}, context(query),
             context(keys), context(values), encode_);
      }
      measure({layer, RowKind::kContext, row, encode_, {}});
      outs.push_back(row.out);
    }
    const auto rows = query.slice(2, context_rows_);
    if (rows.size(2) > 0) {
      const auto first = reading_.is_first_pass();
      const auto read = reading_.read(layer, rows, keys, values, read_, {0, rows.size(2)}, options);
      if (!first) {
        show(probes_, observation(RowKind::kQuery, rows.size(2)), read, rows, keys, values,
             prepared_);
      }
      measure(read.bulk ? PenaltyRows{layer, RowKind::kQuery, read.row, read.bulk->sets.all,
                                      read.bulk->log_weight}
                        : PenaltyRows{layer, RowKind::kQuery, read.row, read_, read.log_weight});
      outs.push_back(read.row.out);
    }
    return torch::cat(outs, 2);
  }

  /// What the pass is over with: the penalty has its figures, and probes see no more rows.
  void end() {
    if (options_.penalty != nullptr) {
      options_.penalty->collect(penalties_);
    }
    penalties_.clear();
    probes_.clear();
  }

 private:
  /// A block of a pass that has returned.
  class Again : public BlockCall {
   public:
    Again(std::shared_ptr<PackedPass> pass, std::shared_ptr<Block> block, Rotation rotation)
        : pass_(std::move(pass)), block_(std::move(block)), rotation_(std::move(rotation)) {}
    std::vector<Tensor> operator()(const Tensor& x) const override {
      return pass_->outputs(*block_, x, rotation_);
    }
    std::vector<Tensor> parameters() const override { return block_->parameters(); }

   private:
    std::shared_ptr<PackedPass> pass_;
    std::shared_ptr<Block> block_;
    Rotation rotation_;
  };

  /// The residual stream after a block, and the penalty of its rows where there is one.
  std::vector<Tensor> outputs(const Block& block, const Tensor& x, const Rotation& rotation) {
    penalty_ = Tensor();
    std::vector<Tensor> all{block.forward(x, rotation, *this)};
    if (penalty_.defined()) {
      all.push_back(std::exchange(penalty_, Tensor()));
    }
    return all;
  }

  int64_t layers_, context_rows_;
  Layout layout_;
  KeySets encode_, read_;
  std::shared_ptr<const Reading> kept_reading_;  // where blocks are computed again
  LayerReading reading_;
  KeySets prepared_;
  Probes probes_;
  ForwardOptions options_;
  Tensor penalty_;                 // of the present block
  std::vector<Tensor> penalties_;  // of each block
};

std::vector<int64_t> piece_lengths(const EncodedContext& context) {
  std::vector<int64_t> lengths;
  for (const auto& piece : context.pieces) {
    lengths.push_back(piece.length());
  }
  return lengths;
}

}  // namespace

EncodedContext encode(const Decoder& model, const std::vector<int64_t>& tokens,
                      const Layout& layout, const Probes& probes, const ContextOptions& options) {
  require(static_cast<int64_t>(tokens.size()) == layout.tokens(), "motet::encode: ", tokens.size(),
          " tokens, but the layout places ", layout.tokens());
  check_positions("motet::encode", model, layout.positions, "the context");
  EncodedContext context{.prefix = {}, .pieces = {}, .query_position = layout.query_position};
  auto next = tokens.begin();
  auto position = layout.positions.begin();
  const auto take = [&](int64_t length) {
    EncodedPiece piece{{next, next + length}, {position, position + length}, {}, {}};
    next += length;
    position += length;
    return piece;
  };
  context.prefix = take(layout.prefix);
  for (const auto length : layout.pieces) {
    context.pieces.push_back(take(length));
  }
  const at::NoGradGuard no_grad;
  EncodePass pass(model, layout, probes, options, context);
  model.forward(as_tensor(tokens), layout.positions, pass);
  return context;
}

/// The pass of one `read`.
class Reader::Pass : public Attention {
 public:
  Pass(Reader& reader, KeySets sets, std::vector<int64_t> queries)
      : reader_(reader),
        reading_(reader.reading_),
        sets_(std::move(sets)),
        prepared_(reader.reading_.prepare(sets_)),
        queries_(std::move(queries)),
        entropy_(needs_of(reader.probes_).entropy) {}

  Tensor attend(int64_t layer, const Tensor& query, const Tensor& keys, const Tensor& values,
                const ScoreRule& rule) override {
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
    const auto first = reading_.is_first_pass();
    auto rows = reading_.read(layer, query, all_keys, all_values, sets_, queries_,
                              {.rule = rule, .entropy = entropy_}, reader_.bulks(layer, rule));
    if (first) {  // its keys come again
      for (std::size_t i = 0; i + 1 < queries_.size(); ++i) {
        reader_.keys_[layer][i].length -= queries_[i + 1] - queries_[i];
        reader_.values_[layer][i].length -= queries_[i + 1] - queries_[i];
      }
      return rows.row.out;
    }
    const auto own_only = [&](int64_t head) {
      const auto kv_head = head * keys.size(1) / query.size(1);
      const auto of_head = [&](const std::vector<Tensor>& all) {
        std::vector<Tensor> heads;
        for (const auto& x : all) {
          heads.push_back(x.narrow(1, kv_head, 1));
        }
        return heads;
      };
      auto own = torch::full({query.size(0), 1, query.size(2), sets_.sets()}, -INFINITY,
                             rows.row.lse.options());
      own.select(3, -1).zero_();
      auto& log_weight = rows.bulk ? rows.bulk->log_weight : rows.log_weight;
      if (!log_weight) {
        log_weight = torch::zeros_like(rows.row.set_lse);
      }
      const auto its = log_weight->narrow(1, head, 1).fill_(-INFINITY);
      its.select(3, sets_.sets() - 1).zero_();  // own, also where bulks come behind it
      if (rows.threshold) {
        rows.threshold->narrow(1, head, 1).fill_(-INFINITY);
      }
      return motet::attend(query.narrow(1, head, 1), of_head(all_keys), of_head(all_values), sets_,
                           own, {.rule = rule, .entropy = entropy_});
    };
    reader_.ablator_->apply(layer, queries_, rows.row, own_only);
    show(reader_.probes_,
         {.layer = layer,
          .layers = reader_.model_.config().layers,
          .kind = RowKind::kQuery,
          .first_row = reader_.rows_,
          .queries = queries_,
          .prefix = context.prefix.length(),
          .pieces = piece_lengths(context),
          .rule = rule},
         rows, query, all_keys, all_values, prepared_);
    return rows.row.out;
  }

  LayerReading& reading() { return reading_; }

 private:
  Reader& reader_;
  LayerReading reading_;
  KeySets sets_, prepared_;
  std::vector<int64_t> queries_;
  bool entropy_;
};

void Reader::Own::append(const Tensor& more) {
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
      probes_(std::move(probes)),
      ablator_(std::make_unique<Ablator>(std::move(ablation), model.config().layers,
                                         model.config().heads)) {
  const auto& config = model.config();
  const auto check = [&](const EncodedPiece& piece, const std::string& name) {
    if (piece.length() == 0) {
      return;
    }
    require(static_cast<int64_t>(piece.keys.size()) == config.layers &&
                piece.values.size() == piece.keys.size(),
            "motet::Reader: ", name, " holds keys of ", piece.keys.size(),
            " layers, the model has ", config.layers);
    const auto shape = std::vector<int64_t>{1, config.kv_heads, piece.length(), config.features};
    require(piece.keys[0].sizes() == shape, "motet::Reader: ", name, " holds keys of ",
            piece.keys[0].sizes(), ", the model makes ", torch::IntArrayRef(shape));
    require(piece.keys[0].scalar_type() == model.dtype(), "motet::Reader: ", name,
            " holds keys of ", piece.keys[0].scalar_type(), ", the model is ", model.dtype());
  };
  check(context.prefix, "the prefix");
  for (std::size_t i = 0; i < context.pieces.size(); ++i) {
    check(context.pieces[i], "piece " + std::to_string(i + 1));
    require(context.pieces[i].length() > 0, "motet::Reader: piece ", i + 1, " is empty");
  }
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

Tensor Reader::read(const std::vector<std::vector<int64_t>>& queries) {
  require(!queries.empty(), "motet::Reader: no queries");
  if (lengths_.empty()) {
    lengths_.assign(queries.size(), 0);
    keys_.assign(model_.config().layers, std::vector<Own>(queries.size()));
    values_ = keys_;
  }
  require(queries.size() == lengths_.size(), "motet::Reader: ", queries.size(),
          " queries after a batch of ", lengths_.size());
  std::vector<int64_t> tokens, positions, rows, offsets{0};
  for (std::size_t i = 0; i < queries.size(); ++i) {
    rows.push_back(static_cast<int64_t>(queries[i].size()));
    offsets.push_back(offsets.back() + rows.back());
    tokens.insert(tokens.end(), queries[i].begin(), queries[i].end());
    for (int64_t t = 0; t < rows.back(); ++t) {
      positions.push_back(context_.query_position + lengths_[i] + t);
    }
  }
  require(!tokens.empty(), "motet::Reader: the ",
          queries.size() == 1 ? "query has" : "queries have", " no tokens");
  check_positions("motet::Reader", model_, positions,
                  "a query that starts at position " + std::to_string(context_.query_position));
  auto sets = read_sets(context_.prefix.length(), piece_lengths(context_), rows, lengths_);
  const at::NoGradGuard no_grad;
  Pass pass(*this, std::move(sets), offsets);
  if (pass.reading().is_first_pass()) {
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

Tensor Reader::read(const std::vector<int64_t>& query) {
  return read(std::vector<std::vector<int64_t>>{query});
}

Tensor read(const Decoder& model, const EncodedContext& context, const std::vector<int64_t>& query,
            const Reading& reading, const Probes& probes, const Ablation& ablation) {
  Reader reader(model, context, reading, probes, ablation);
  const auto hidden = reader.read(query);
  const at::NoGradGuard no_grad;
  return model.logits(hidden);
}

Tensor forward(const Decoder& model, const Tensor& tokens, const Layout& layout,
               const Reading& reading, const Probes& probes, const ForwardOptions& options) {
  require(tokens.dim() == 2 && tokens.size(1) >= layout.tokens(), "motet::forward: tokens of ",
          tokens.sizes(), "; they are [batch, rows], and the layout places ", layout.tokens(),
          " rows before the query");
  require(!options.checkpoint || reading.copy() != nullptr, "motet::forward: the reading ",
          reading.name(),
          " has no copy with which blocks could be computed again; define Reading::copy, or leave "
          "checkpoint out");
  const auto query = tokens.size(1) - layout.tokens();
  auto positions = layout.positions;
  for (int64_t t = 0; t < query; ++t) {
    positions.push_back(layout.query_position + t);
  }
  check_positions("motet::forward", model, positions, "the packed row");
  const auto pass = std::make_shared<PackedPass>(model, layout, query, reading, probes, options);
  if (pass->reading().is_first_pass()) {
    const at::NoGradGuard no_grad;
    model.forward(tokens, positions, *pass);
    pass->reading().end_first_pass();
  }
  auto hidden = model.forward(tokens, positions, *pass);
  pass->end();
  return hidden;
}

}  // namespace motet
