#pragma once

#include <torch/types.h>

#include <vector>

#include "motet/probe/probe.h"

namespace motet {

/// A figure for every layer, head and row, gathered pass after pass.
class RowStatistic {
 public:
  /// `rows` of `layer`, [batch, heads, rows(, ...)]. Layers come in order, pass after pass.
  void add(int64_t layer, const torch::Tensor& rows);
  /// [layers, batch, heads, rows(, ...)], rows of all passes. Throws Error where nothing was seen.
  torch::Tensor rows() const;
  /// The last row of the last pass, [layers, batch, heads(, ...)]. Throws Error where nothing was
  /// seen.
  torch::Tensor last() const;
  /// Mean over batch and rows, [layers, heads(, ...)], float64.
  torch::Tensor heads() const;
  /// Mean over layers, batch, heads and rows, [...], float64: every token counts once.
  torch::Tensor mean() const;
  /// The unweighted mean over passes and layers of each pass's mean: a pass with one row counts as
  /// much as one with a thousand. Throws Error where nothing was seen.
  double mean_of_passes() const;

 private:
  std::vector<std::vector<torch::Tensor>> layers_;  // [layer][pass]
};

/// The entropy of every head and row, and its parts: PCE's diagnosis (arXiv 2412.16545, section 4),
/// in nats.
class EntropyProbe : public Probe {
 public:
  /// Watches rows of this kind.
  explicit EntropyProbe(RowKind kind = RowKind::kQuery) : kind_(kind) {}
  void observe(const Observation& seen) override;

  const RowStatistic& entropy() const { return entropy_; }  ///< between + within
  const RowStatistic& between() const { return between_; }  ///< between prefix, pieces and own
  const RowStatistic& within() const { return within_; }    ///< inside them
  /// The unweighted mean over forward calls of attention, as the paper's code takes it: a call with
  /// one row counts as much as one with a thousand. Equal to `entropy().mean()` where all calls
  /// have as many rows.
  double mean_of_calls() const;

 private:
  RowKind kind_;
  RowStatistic entropy_, between_, within_;
};

/// The probability of the prefix, of each piece and of own keys. Sets as in Observation.
class MassProbe : public Probe {
 public:
  /// Watches rows of this kind.
  explicit MassProbe(RowKind kind = RowKind::kQuery) : kind_(kind) {}
  ProbeNeeds needs() const override { return {.rows = true}; }
  void observe(const Observation& seen) override;

  const RowStatistic& mass() const { return mass_; }      ///< [..., sets]
  const RowStatistic& prefix() const { return prefix_; }  ///< of the prefix
  const RowStatistic& own() const { return own_; }        ///< of own keys
  /// Of the piece with the most; 0 without pieces.
  const RowStatistic& top_piece() const { return top_piece_; }

 private:
  RowKind kind_;
  RowStatistic mass_, prefix_, own_, top_piece_;
};

}  // namespace motet
