#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "model/layer_reading.h"
#include "model/pass.h"
#include "motet/model/reader.h"

namespace motet {

/// The pass of one `read`: what its rows see in each layer, and what is shown of them.
class Reader::Pass : public Attention {
 public:
  /// `queries` as in Observation; positions are those of keys and rows, and `reach` as in
  /// Attention.
  Pass(Reader& reader, KeySets sets, std::vector<int64_t> key_positions,
       std::vector<int64_t> row_positions, std::vector<int64_t> queries, int64_t reach);

  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& keys,
                       const torch::Tensor& values, const ScoreRule& rule) override;
  int64_t reach() const override { return reach_; }

  LayerReading& reading() { return reading_; }

 private:
  /// Keys and values of the layer: the context's, and the queries' own with these appended.
  LocalKeys append(int64_t layer, const torch::Tensor& keys, const torch::Tensor& values);
  void take_back(int64_t layer);

  Reader& reader_;
  LayerReading reading_;
  PieceSets meaning_;
  LayerSets sets_;
  std::vector<int64_t> queries_;
  int64_t reach_;
  bool entropy_;
};

/// Parts of several readers as one pass: their rows lie one part after the other.
class Reader::Together : public Attention {
 public:
  /// Those parts that `wanted` returns true for.
  template <class Wanted>
  Together(std::vector<Part>& parts, Wanted wanted) {
    for (auto& part : parts) {
      if (wanted(part)) {
        add(part);
      }
    }
  }

  const std::vector<int64_t>& tokens() const { return tokens_; }
  const std::vector<int64_t>& positions() const { return positions_; }
  const std::vector<Part*>& parts() const { return parts_; }
  /// [rows, ...] of each part.
  std::vector<torch::Tensor> split(const torch::Tensor& rows) const;

  torch::Tensor attend(int64_t layer, const torch::Tensor& query, const torch::Tensor& keys,
                       const torch::Tensor& values, const ScoreRule& rule) override;
  int64_t reach() const override;

 private:
  void add(Part& part);

  std::vector<Part*> parts_;
  std::vector<int64_t> tokens_, positions_, lengths_;
};

}  // namespace motet
