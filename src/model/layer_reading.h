#pragma once

#include <torch/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "motet/reading/key_source.h"
#include "motet/reading/read_rows.h"
#include "motet/reading/reading.h"

namespace motet {

/// How the rows of a query are read, layer by layer. A reading that decides for all layers at once
/// has a first pass, whose rows read `all` and are shown to nobody.
class LayerReading {
 public:
  /// The reading outlives it.
  explicit LayerReading(const Reading& reading)
      : reading_(reading), first_(reading.needs().layers) {
    reading.needs().validate(reading.name());
  }

  /// What the sets of rows mean, as this reading has them.
  PieceSets meaning_of(const KeySets& sets) const {
    const auto meaning = PieceSets::of_sets(sets.sets());
    return reading_.needs().null ? meaning.with_null() : meaning;
  }

  bool is_first_pass() const { return first_; }
  void end_first_pass();

  /// Rows of a layer that see `sets`; `queries` as in PieceScores, `estimates` as in KnownBulks.
  ReadRows read(int64_t layer, const torch::Tensor& query,
                const std::shared_ptr<const KeySets>& sets, const std::vector<int64_t>& queries,
                const KeySource& keys, RowOptions options, const KeyEstimates* estimates = nullptr);

  /// The sets as the reading prepares them.
  const std::shared_ptr<const KeySets>& prepared(const std::shared_ptr<const KeySets>& sets);

 private:
  const Reading& reading_;
  bool first_;
  std::vector<PieceScores> scores_;                    // of each layer, in the first pass
  std::vector<std::optional<torch::Tensor>> decided_;  // for each layer, after it
  // What was made of sets, which many layers share.
  std::map<std::shared_ptr<const KeySets>, std::shared_ptr<const KeySets>> prepared_;
  std::map<std::shared_ptr<const KeySets>, WindowSets> split_;
};

}  // namespace motet
