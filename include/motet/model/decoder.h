#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "motet/model/block.h"
#include "motet/model/config.h"

namespace motet {

/// Sees the residual stream after `layers` layers (0: the embedding), [batch, rows, width], fp32
/// (float64 in float64 models); never changes it.
using ResidualObserver = std::function<void(int64_t layers, const torch::Tensor& x)>;

/// A decoder-only language model of any registered family. Its parameters train like those of every
/// LibTorch module.
class Decoder : public torch::nn::Module {
 public:
  /// Parameters are left uninitialised. Throws Error for an unknown family.
  explicit Decoder(Config config);

  const Config& config() const { return config_; }                           ///< as given
  torch::ScalarType dtype() const { return tokens_->weight.scalar_type(); }  ///< of parameters
  torch::Device device() const { return tokens_->weight.device(); }          ///< of parameters

  /// SHA-256, 64 hexadecimal digits, of all that decides what the model computes: its configuration
  /// but for names, and every parameter's name, type, shape and values. Equal on every machine, for
  /// models of equal values, wherever they were loaded from. Read once, and again where parameters
  /// were written to; a gigabyte takes about a second of one core.
  std::string fingerprint() const;

  /// One pass through the layers: `tokens` is [batch, rows], `positions` are those of the rows.
  /// Returns the rows after the last norm, [batch, rows, width]. Throws Error for a token that is
  /// not in the vocabulary, and for a position that a learned table does not have.
  torch::Tensor forward(const torch::Tensor& tokens, const std::vector<int64_t>& positions,
                        Attention& attention, const ResidualObserver& observer = {}) const;

  /// The scores of the vocabulary, [..., vocabulary], fp32 (float64 in float64 models), of rows
  /// after the last norm.
  torch::Tensor logits(const torch::Tensor& hidden) const;
  /// The matrix that makes them, before a cap, [vocabulary, width]: the embedding of tokens where
  /// it is tied.
  const torch::Tensor& head() const { return config_.tied ? tokens_->weight : head_->weight; }

 private:
  /// A module that only holds a table, so that its parameter is named `tokens.weight` and the like.
  struct Table : torch::nn::Module {
    Table(int64_t rows, int64_t width);
    torch::Tensor weight;  // [rows, width]
  };

  Config config_;
  std::shared_ptr<Table> tokens_;
  std::shared_ptr<Table> positions_;  // null where positions are rotated
  std::shared_ptr<Table> head_;       // null where tied to the tokens
  std::vector<std::shared_ptr<Block>> layers_;
  std::shared_ptr<Norm> norm_;
  struct KnownFingerprint;
  std::shared_ptr<KnownFingerprint> known_fingerprint_;
};

}  // namespace motet
