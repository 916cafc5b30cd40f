#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "motet/context/encoded_context.h"
#include "motet/context/layout.h"
#include "motet/model/ablation.h"
#include "motet/model/decoder.h"
#include "motet/probe/penalty.h"
#include "motet/probe/probe.h"
#include "motet/reading/reading.h"

namespace motet {

class Ablator;

/// What `encode` may be told beside its layout and probes.
struct ContextOptions {
  /// Whether pieces keep the moments of their keys, for readings that estimate from them
  /// (ReadingNeeds::bulk). A Reader makes those that it misses by itself, every time.
  bool moments = false;
};

/// Runs the model over prefix and pieces, laid end to end in `tokens` as `layout` says: one packed
/// row, in which no piece sees another. Throws Error where tokens and layout differ in number, and
/// where the largest position does not fit a learned table.
EncodedContext encode(const Decoder& model, const std::vector<int64_t>& tokens,
                      const Layout& layout, const Probes& probes = {},
                      const ContextOptions& options = {});

/// Reads queries against an encoded context, which it only refers to; then token by token,
/// appending.
class Reader {
 public:
  /// Model, context, reading and probes outlive the reader. Throws Error where the context was not
  /// encoded by such a model, and where the ablation names a head that it does not have.
  Reader(const Decoder& model, const EncodedContext& context, const Reading& reading,
         Probes probes = {}, Ablation ablation = {});
  ~Reader();

  /// Runs the model over the next tokens of each query of a batch; their keys are appended. Queries
  /// see the context and their own earlier tokens, not each other. The first call fixes how many
  /// queries there are. Returns rows after the last norm, [rows, width], one query after the other;
  /// see Decoder::logits. Throws Error for another number of queries, an empty batch, and a
  /// position that a learned table lacks.
  torch::Tensor read(const std::vector<std::vector<int64_t>>& queries);
  /// The same for a single query.
  torch::Tensor read(const std::vector<int64_t>& query);

 private:
  /// Own keys or values of one query in one layer: room grows by doubling, so that appending a
  /// token copies nothing.
  struct Own {
    torch::Tensor room;  // [1, kv_heads, capacity, features]
    int64_t length = 0;
    void append(const torch::Tensor& more);
    torch::Tensor filled() const { return room.slice(2, 0, length); }
  };
  class Pass;
  /// The bulks of a layer as the reading wants them; null where it wants none.
  const std::vector<GaussianKeys>* bulks(int64_t layer, const ScoreRule& rule);

  const Decoder& model_;
  const EncodedContext& context_;
  const Reading& reading_;
  Probes probes_;
  std::unique_ptr<Ablator> ablator_;
  std::vector<int64_t> lengths_;                  // tokens so far of each query
  std::vector<std::vector<Own>> keys_, values_;   // [layer][query]
  int64_t rows_ = 0;                              // of all queries so far
  std::vector<std::vector<GaussianKeys>> bulks_;  // [layer], of a reading that estimates from them
};

/// Reads one query and returns the logits of all its rows, [rows, vocabulary], fp32. See Reader.
torch::Tensor read(const Decoder& model, const EncodedContext& context,
                   const std::vector<int64_t>& query, const Reading& reading = All(),
                   const Probes& probes = {}, const Ablation& ablation = {});

/// What a differentiable pass may be told beside its reading and probes.
struct ForwardOptions {
  /// Given the rows of all layers, context and query; outlives the backward pass.
  RowPenalty* penalty = nullptr;
  /// Whether blocks keep only their input and are computed again in the backward pass: memory of
  /// one block for time of one more forward pass (Chen et al. 2016, arXiv 1604.06174). Residual
  /// stream and penalty are outputs of the block alike, and probes see rows once.
  bool checkpoint = false;
};

/// A whole packed row, context and query, in one differentiable pass without a cache: `tokens` is
/// [batch, layout.tokens() + query]. The reading decides for the query's rows. Returns rows after
/// the last norm, [batch, rows, width]; see Decoder::logits. Throws Error where tokens and layout
/// do not fit each other or the model's positions, and where blocks would be computed again with a
/// reading that has no copy.
torch::Tensor forward(const Decoder& model, const torch::Tensor& tokens, const Layout& layout,
                      const Reading& reading = All(), const Probes& probes = {},
                      const ForwardOptions& options = {});

}  // namespace motet
