#include "motet/model/encode.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "model/pass.h"
#include "model/show.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;

/// The pass of `encode`: the packed row attends, and its keys and values are kept, piece by piece.
class EncodePass : public Attention {
 public:
  EncodePass(const Decoder& model, const Layout& layout, const Probes& probes,
             const ContextOptions& options, EncodedContext& context)
      : layers_(model.config().layers),
        sets_(model.config(), encode_sets(layout), layout.positions, layout.positions),
        layout_(layout),
        probes_(probes),
        options_(options),
        context_(context) {}

  int64_t reach() const override { return context_.reach; }

  Tensor attend(int64_t layer, const Tensor& query, const Tensor& keys, const Tensor& values,
                const ScoreRule& rule) override {
    const auto row = motet::attend(query, keys, values, *sets_.of(layer), {},
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
          .queries = {0, layout_.tokens()},
          .prefix = layout_.prefix,
          .pieces = layout_.pieces,
          .visible = sets_.of(layer),
          .rule = rule},
         {row, {}, {}}, query, LocalKeys(keys, values));
    return row.out;
  }

 private:
  int64_t layers_;
  LayerSets sets_;
  const Layout& layout_;
  const Probes& probes_;
  const ContextOptions& options_;
  EncodedContext& context_;
};

}  // namespace

EncodedContext encode(const Decoder& model, const std::vector<int64_t>& tokens,
                      const Layout& layout, const Probes& probes, const ContextOptions& options) {
  require(static_cast<int64_t>(tokens.size()) == layout.tokens(), "motet::encode: ", tokens.size(),
          " tokens, but the layout places ", layout.tokens());
  check_positions("motet::encode", model, layout.positions, "the context");
  EncodedContext context{.prefix = {},
                         .pieces = {},
                         .query_position = layout.query_position,
                         .reach = std::max(options.reach, layout.query_position + 1)};
  for (const auto at : layout.positions) {
    context.reach = std::max(context.reach, at + 1);
  }
  const bool long_factors = model.config().takes_long_factors(context.reach);
  auto next = tokens.begin();
  auto position = layout.positions.begin();
  const auto take = [&](int64_t length) {
    EncodedPiece piece{.tokens = {next, next + length},
                       .positions = {position, position + length},
                       .keys = {},
                       .values = {},
                       .origin = {model.fingerprint(), context.prefix.tokens, long_factors}};
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

}  // namespace motet
