#pragma once

#include <torch/types.h>

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "motet/attention/key_moments.h"
#include "motet/context/encoded_context.h"
#include "motet/model/ablation.h"
#include "motet/model/decoder.h"
#include "motet/probe/probe.h"
#include "motet/reading/reading.h"

namespace motet {

class Ablator;

/// Reads queries against an encoded context, which it only refers to; then token by token,
/// appending.
class Reader {
 public:
  using Queries = std::vector<std::vector<int64_t>>;  ///< tokens of each query of a batch

  /// Model, context, reading and probes outlive the reader. Throws Error where a piece was encoded
  /// by another model or behind another prefix (EncodedPiece::origin), where the reading is of
  /// another model (Reading::check), and where the ablation names a head that the model does not
  /// have.
  Reader(const Decoder& model, const EncodedContext& context, const Reading& reading,
         Probes probes = {}, Ablation ablation = {});
  /// Goes on from where `other` is, with probes of its own: keys of its query are copied, so that
  /// it can be continued in several ways; `copies` of them at once, as a batch. Throws Error for no
  /// copy, and where `other` has not read exactly one query.
  Reader(const Reader& other, Probes probes, int64_t copies = 1);
  ~Reader();

  /// Runs the model over the next tokens of each query of a batch; their keys are appended. Queries
  /// see the context and their own earlier tokens, not each other. The first call fixes how many
  /// queries there are. Returns rows after the last norm, [rows, width], one query after the other;
  /// see Decoder::logits. Throws Error for another number of queries, an empty batch, a token that
  /// is not in the vocabulary, and a position that a learned table lacks; what is refused changes
  /// nothing.
  torch::Tensor read(std::span<const std::vector<int64_t>> queries);
  /// The same: {{1, 2}, {3}} are two queries.
  torch::Tensor read(std::initializer_list<std::vector<int64_t>> queries) {
    return read(std::span(queries.begin(), queries.size()));
  }
  /// The same for a single query: {1, 2}, or {first, last} of a range.
  torch::Tensor read(const std::vector<int64_t>& query);

  /// How many more tokens of each query a learned table of positions holds; nothing where positions
  /// are rotated.
  std::optional<int64_t> positions_left() const;

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
  class Together;
  friend std::vector<torch::Tensor> read_together(std::span<Reader* const> readers,
                                                  std::span<const Queries> queries);
  friend torch::Tensor read_differentiable(const Decoder& model, const EncodedContext& context,
                                           const std::vector<int64_t>& query,
                                           const Reading& reading, const Probes& probes,
                                           const Ablation& ablation);
  /// What one pass has of a reader: its rows, and how they see keys.
  struct Part {
    std::vector<int64_t> tokens, positions;
    std::vector<int64_t> rows;  // of each query
    std::unique_ptr<Pass> pass;
  };
  /// Checks them; changes nothing.
  Part begin(std::span<const std::vector<int64_t>> queries);
  void make_room(std::size_t queries, int64_t reach);
  void end(const Part& part);
  /// `read`, with a gradient where gradients are on.
  torch::Tensor run(std::span<const std::vector<int64_t>> queries);
  static std::vector<torch::Tensor> run(std::span<Reader* const> readers,
                                        std::span<const Queries> queries);
  /// The bulks of a layer as the reading wants them; null where it wants none.
  const KeyEstimates* bulks(int64_t layer, const ScoreRule& rule);

  const Decoder& model_;
  const EncodedContext& context_;
  const Reading& reading_;
  int64_t reach_;  // positions so far, those that the context was encoded for among them
  Probes probes_;
  std::unique_ptr<Ablator> ablator_;
  std::vector<int64_t> lengths_;                 // tokens so far of each query
  std::vector<std::vector<Own>> keys_, values_;  // [layer][query]
  int64_t rows_ = 0;                             // of all queries so far
  std::vector<KeyEstimates> bulks_;              // [layer], of a reading that estimates from them
};

/// Each reader reads the next tokens of its own queries, as with Reader::read, in one pass through
/// the model: products of weights are of all rows, whatever contexts and readings they have. So a
/// grid of modes, or a batch of users, is read in the time of a few. Returns the rows of each
/// reader. Throws what Reader::read does, before any of them has read; and Error where readers are
/// of several models, one of them comes twice, or LongRope's factors differ.
std::vector<torch::Tensor> read_together(std::span<Reader* const> readers,
                                         std::span<const Reader::Queries> queries);

/// Reads one query, with a gradient: the rows after the last norm, [rows, width], differentiable in
/// what the reading decides from, such as the numbers of a Learned one, and in parameters of the
/// model that want a gradient. The context is constant. Errors as of Reader. Rows and their
/// activations are all that is kept for the backward pass.
torch::Tensor read_differentiable(const Decoder& model, const EncodedContext& context,
                                  const std::vector<int64_t>& query, const Reading& reading,
                                  const Probes& probes = {}, const Ablation& ablation = {});

/// Reads one query and returns the logits of all its rows, [rows, vocabulary], fp32. See Reader.
torch::Tensor read(const Decoder& model, const EncodedContext& context,
                   const std::vector<int64_t>& query, const Reading& reading = All(),
                   const Probes& probes = {}, const Ablation& ablation = {});

}  // namespace motet
