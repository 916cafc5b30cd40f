#include "motet/model/forward.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "model/layer_reading.h"
#include "model/pass.h"
#include "model/recompute.h"
#include "model/show.h"
#include "reading/null_rows.h"

namespace motet {
namespace {

using torch::Tensor;

/// The pass of `forward`: context rows as they are, query rows as the reading decides. Its blocks
/// may be computed again long after `forward` has returned.
class PackedPass : public Attention, public std::enable_shared_from_this<PackedPass> {
 public:
  /// `positions` are those of layout and query.
  PackedPass(const Decoder& model, const Layout& layout, int64_t query,
             const std::vector<int64_t>& positions, std::shared_ptr<const Reading> reading,
             const Probes& probes, const ForwardOptions& options)
      : layers_(model.config().layers),
        context_rows_(layout.tokens()),
        layout_(layout),
        encode_(model.config(), encode_sets(layout), layout.positions, layout.positions),
        read_(model.config(), read_sets(layout.prefix, layout.pieces, {query}, {0}), positions,
              {positions.begin() + layout.tokens(), positions.end()}),
        kept_reading_(std::move(reading)),
        reading_(*kept_reading_),
        meaning_(reading_.meaning_of(*read_.of(0))),
        probes_(probes),
        options_(options) {}

  LayerReading& reading() { return reading_; }

  Tensor run(const std::shared_ptr<Block>& block, const Tensor& x,
             const Rotation& rotation) override {
    if (reading_.is_first_pass()) {
      return block->forward(x, rotation, *this);
    }
    const bool again = options_.checkpoint && at::GradMode::is_enabled();
    auto out = again ? recompute(std::make_shared<Again>(shared_from_this(), block, rotation), x)
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
    const auto observation = [&](RowKind kind, int64_t rows, const PieceSets& meaning,
                                 const std::shared_ptr<const KeySets>& visible) {
      return Observation{.layer = layer,
                         .layers = layers_,
                         .kind = kind,
                         .queries = {0, rows},
                         .prefix = layout_.prefix,
                         .pieces = layout_.pieces,
                         .sets = meaning,
                         .visible = visible,
                         .rule = rule};
    };
    const auto measure = [&](const PenaltyRows& rows) {
      if (needs.any()) {
        const auto more = options_.penalty->measure(rows);
        penalty_ = penalty_.defined() ? penalty_ + more : more;
      }
    };
    std::vector<Tensor> outs;
    const bool first = reading_.is_first_pass();
    if (context_rows_ > 0) {
      const auto& sets = encode_.of(layer);
      const LocalKeys local(context(keys), context(values));
      const auto row = local.attend(context(query), *sets, {}, options);
      if (!first) {
        show(probes_, observation(RowKind::kContext, context_rows_, PieceSets(), sets),
             {row, {}, {}}, context(query), local);
      }
      measure({layer, RowKind::kContext, row, *sets, {}});
      outs.push_back(row.out);
    }
    const auto rows = query.slice(2, context_rows_);
    if (rows.size(2) > 0) {
      const auto& sets = read_.of(layer);
      const LocalKeys local(keys, values);
      const auto read = reading_.read(layer, rows, sets, {0, rows.size(2)}, local, options);
      if (!first) {
        show(probes_, observation(RowKind::kQuery, rows.size(2), meaning_, reading_.prepared(sets)),
             read, rows, local);
      }
      measure(read.bulk ? PenaltyRows{layer, RowKind::kQuery, read.row, read.bulk->sets.all,
                                      read.bulk->log_weight}
                        : PenaltyRows{layer, RowKind::kQuery, read.row, *sets,
                                      of_keys(read.log_weight, *sets)});
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
  LayerSets encode_, read_;
  std::shared_ptr<const Reading> kept_reading_;
  LayerReading reading_;
  PieceSets meaning_;  // of read_
  Probes probes_;
  ForwardOptions options_;
  Tensor penalty_;                 // of the present block
  std::vector<Tensor> penalties_;  // of each block
};

}  // namespace

Tensor forward(const Decoder& model, const Tensor& tokens, const Layout& layout,
               std::shared_ptr<const Reading> reading, const Probes& probes,
               const ForwardOptions& options) {
  require(tokens.dim() == 2 && tokens.size(1) >= layout.tokens(), "motet::forward: tokens of ",
          tokens.sizes(), "; they are [batch, rows], and the layout places ", layout.tokens(),
          " rows before the query");
  require(reading != nullptr, "motet::forward: no reading is given");
  reading->check(model.config().layers, model.config().heads);
  const auto query = tokens.size(1) - layout.tokens();
  auto positions = layout.positions;
  for (int64_t t = 0; t < query; ++t) {
    positions.push_back(layout.query_position + t);
  }
  check_positions("motet::forward", model, positions, "the packed row");
  const auto pass = std::make_shared<PackedPass>(model, layout, query, positions,
                                                 std::move(reading), probes, options);
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
