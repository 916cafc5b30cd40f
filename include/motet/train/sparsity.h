#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "motet/probe/penalty.h"

namespace motet {

/// What a row is penalised with, where m is the mass of its k largest keys (Row::top_mass).
enum class Penalty {
  kTail,     ///< 1 - m: only T kept, out moves by (1 - m) |mean over T of v - mean outside of v|
  kLog,      ///< -ln m
  kHinge,    ///< max(0, 1 - floor - m)
  kEntropy,  ///< the row's entropy, nats
};

/// `tail`, `log`, `hinge` or `entropy`. Throws Error for anything else.
Penalty penalty_named(std::string_view name);
/// The reverse of penalty_named.
std::string name_of(Penalty penalty);

/// What Sparsity penalises, and how much.
struct SparsityOptions {
  Penalty penalty = Penalty::kTail;  ///< of a row
  int64_t keys = 64;                 ///< k, the budget of a row; rows that see no more are left out
  std::optional<double> share;       ///< instead of `keys`, of those that a row sees; within (0, 1]
  bool counts_first = true;          ///< whether token 0 counts in the budget; if not, it is free
  double floor = 0;                  ///< of `hinge`: mass outside T that goes free, within [0, 1)
  double weight = 0.1;               ///< lambda, in nats of language-model loss per unit of penalty
  int64_t warmup = 0;                ///< steps over which lambda rises from 0, linearly
  std::vector<int64_t> layers;       ///< those that are penalised, counted from 0; empty: all
  std::vector<int64_t> heads;        ///< those that are penalised, counted from 0; empty: all

  /// k and what it is counted in, as `attend` wants it.
  KeyBudget budget() const {
    return {.keys = share ? 0 : keys, .share = share, .counts_first = counts_first};
  }
  /// Throws Error naming the first field out of range.
  void validate() const;
};

/// A loss that makes rows spend their probability on few keys:
///
///     lambda * mean over chosen (layer, head, row) of l(row)
///
/// After Sason et al. 2025, "Attention Condensation via Sparsity Induced Regularized Training",
/// arXiv 2503.01564 v1, which was withdrawn and whose exact loss is not public.
///
///     motet::Sparsity sparsity({.keys = 32, .weight = 0.1});
///     auto hidden = motet::forward(*model, tokens, layout, All(), {}, {.penalty = &sparsity});
///     auto loss = nll(hidden) + sparsity.loss();
class Sparsity : public RowPenalty {
 public:
  /// Throws Error where the options are out of range.
  explicit Sparsity(SparsityOptions options = {});

  PenaltyNeeds needs(int64_t layer, int64_t layers) const override;
  /// The sum of l over rows that see more than k keys, and the number of these rows: [2].
  torch::Tensor measure(const PenaltyRows& rows) const override;
  void collect(const std::vector<torch::Tensor>& layers) override { layers_ = layers; }

  /// The mean of l over the latest forward pass, a differentiable scalar; 0 where every row sees
  /// too few keys. Throws Error before the first pass.
  torch::Tensor penalty() const;
  /// The same times lambda as it stands: what to add to the loss.
  torch::Tensor loss() const;
  /// The mean of l of each layer, [layers], for a look; NaN where a layer goes free.
  torch::Tensor penalty_of_layers() const;

  /// Lambda at the present step: the first of `warmup` steps has weight / warmup.
  double weight() const;
  /// One optimiser step is done.
  void step() { ++steps_; }
  /// So many are done, as after a resume.
  void step_to(int64_t steps) { steps_ = steps; }

  const SparsityOptions& options() const { return options_; }  ///< as given

 private:
  SparsityOptions options_;
  int64_t steps_ = 0;
  std::vector<torch::Tensor> layers_;  // of the latest pass, as `measure` gives them
};

}  // namespace motet
