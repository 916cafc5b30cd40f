#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "motet/context/layout.h"
#include "motet/model/encode.h"
#include "motet/model/reader.h"
#include "motet/probe/entropy.h"
#include "motet/probe/mass.h"
#include "motet/reading/reading.h"

namespace bench {

/// The shipped probes, all of them: what a run with statistics has on.
struct AllProbes {
  explicit AllProbes(motet::RowKind kind) : entropy(kind), mass(kind) {}
  motet::Probes list() { return {&entropy, &mass}; }

  motet::EntropyProbe entropy;
  motet::MassProbe mass;
};

/// The same tokens in every run.
inline std::vector<int64_t> tokens_for(const motet::Decoder& model, int64_t count) {
  std::vector<int64_t> tokens(count);
  for (int64_t i = 0; i < count; ++i) {
    tokens[i] = i * 7919 % model.config().vocabulary;
  }
  return tokens;
}

/// The most likely next token after the last of these rows.
inline int64_t next_token(const motet::Decoder& model, const torch::Tensor& hidden) {
  return model.logits(hidden.slice(0, -1)).argmax(-1).item<int64_t>();
}

/// Runs the model over the tokens, one piece with its cache, and finds the next one.
inline int64_t prefill(const motet::Decoder& model, const std::vector<int64_t>& tokens) {
  AllProbes probes(motet::RowKind::kQuery);
  const motet::EncodedContext none;
  const motet::All all;
  motet::Reader reader(model, none, all, probes.list());
  return next_token(model, reader.read(tokens));
}

/// Decoding behind an encoded context that some queries share, a token of each at a time.
class Decoding {
 public:
  Decoding(const motet::Decoder& model, int64_t context, int64_t queries = 1)
      : model_(model),
        context_(
            motet::encode(model, tokens_for(model, context), motet::make_layout(0, {context}))),
        reader_(model, context_, all_, probes_.list()) {
    for (int64_t query = 0; query < queries; ++query) {
      tokens_.push_back({query + 1});
    }
  }

  void step() {
    const auto next = model_.logits(reader_.read(tokens_)).argmax(-1);
    for (std::size_t query = 0; query < tokens_.size(); ++query) {
      tokens_[query][0] = next[static_cast<int64_t>(query)].item<int64_t>();
    }
  }

 private:
  const motet::Decoder& model_;
  motet::EncodedContext context_;
  motet::All all_;
  AllProbes probes_{motet::RowKind::kQuery};
  motet::Reader reader_;
  std::vector<std::vector<int64_t>> tokens_;
};

/// Bytes of weights and keys that a token needs behind `context` tokens.
inline double bytes_of_token(const motet::Decoder& model, double context) {
  const auto& config = model.config();
  const auto element = static_cast<double>(c10::elementSize(model.dtype()));
  double weights = 0;
  for (const auto& parameter : model.parameters()) {
    weights += static_cast<double>(parameter.numel());
  }
  const auto keys =
      2 * static_cast<double>(config.layers * config.kv_heads * config.features) * context;
  return (weights + keys) * element;
}

}  // namespace bench
