#pragma once

#include <torch/types.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "motet/attention/key_bounds.h"
#include "motet/attention/key_moments.h"
#include "motet/attention/rows.h"
#include "motet/attention/scores.h"
#include "motet/context/piece_sets.h"
#include "motet/reading/reading.h"

namespace motet {

/// Rows whose pieces were chosen while their keys were read.
struct ChosenRows {
  Row row;                   ///< of what is kept
  torch::Tensor log_weight;  ///< 0, and -inf for what is not, [batch, heads, query, sets]
};

/// The keys and values of one layer, wherever they lie: the calls that a reading makes of them.
/// Keys of other hosts, or on disk, are a class of one's own; parts of them are put together by
/// `join` and `merge`.
class KeySource {
 public:
  virtual ~KeySource() = default;
  /// As motet::score, of these keys.
  virtual Scores score(const torch::Tensor& query, const KeySets& sets, int64_t top,
                       const RowOptions& options) const = 0;
  /// As motet::attend, of these keys and values.
  virtual Row attend(const torch::Tensor& query, const KeySets& sets,
                     const std::optional<torch::Tensor>& log_weight,
                     const RowOptions& options) const = 0;
  /// Rows that choose pieces while their keys are read, in one call in place of two. Nothing: the
  /// choice is made from scores. Throws Error where there are fewer pieces.
  virtual std::optional<ChosenRows> choose(const torch::Tensor& query, const KeySets& sets,
                                           const PieceSets& meaning, const RowChoice& choice,
                                           const RowOptions& options) const;
  /// The moments of the keys that spans of each set hold, for the estimate of bulks. Throws Error
  /// unless overridden.
  virtual std::vector<KeyMoments> moments(const KeySets& sets) const;
  /// The bounds of these keys, in the same way.
  virtual std::vector<KeyBounds> bounds(const KeySets& sets) const;
};

/// Keys and values in the memory of this process: lists of tensors that are read as if laid end to
/// end, as by `attend`.
class LocalKeys : public KeySource {
 public:
  /// As `keys` and `values` of `attend`; refers to their memory.
  LocalKeys(torch::TensorList keys, torch::TensorList values)
      : keys_(keys.vec()), values_(values.vec()) {}

  const std::vector<torch::Tensor>& keys() const { return keys_; }      ///< as given
  const std::vector<torch::Tensor>& values() const { return values_; }  ///< as given
  /// Those of one key-value head, which are views.
  LocalKeys of_head(int64_t kv_head) const;

  Scores score(const torch::Tensor& query, const KeySets& sets, int64_t top,
               const RowOptions& options) const override;
  Row attend(const torch::Tensor& query, const KeySets& sets,
             const std::optional<torch::Tensor>& log_weight,
             const RowOptions& options) const override;
  std::optional<ChosenRows> choose(const torch::Tensor& query, const KeySets& sets,
                                   const PieceSets& meaning, const RowChoice& choice,
                                   const RowOptions& options) const override;
  std::vector<KeyMoments> moments(const KeySets& sets) const override;
  std::vector<KeyBounds> bounds(const KeySets& sets) const override;

 private:
  std::vector<torch::Tensor> keys_, values_;
};

}  // namespace motet
