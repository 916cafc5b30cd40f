#include "model/layer_reading.h"

#include <utility>

#include "reading/null_rows.h"

namespace motet {

using torch::Tensor;

void LayerReading::end_first_pass() {
  decided_ = reading_.decide_layers(scores_);
  first_ = false;
}

ReadRows LayerReading::read(int64_t layer, const Tensor& query,
                            const std::shared_ptr<const KeySets>& sets,
                            const std::vector<int64_t>& queries, const KeySource& keys,
                            RowOptions options, const KeyEstimates* estimates) {
  if (first_) {
    options.top = reading_.needs().top;
    options.entropy = true;
    const auto row = keys.attend(query, *prepared(sets), {}, options);
    scores_.push_back(
        {{.lse = row.set_lse, .entropy = row.set_entropy, .top = row.set_top, .row_lse = row.lse},
         PieceSets::of_sets(sets->sets()),
         queries,
         layer});
    if (reading_.needs().null) {
      add_null(scores_.back());
    }
    return {row, {}, {}};
  }
  if (!decided_.empty()) {
    const auto& log_weight = decided_.at(layer);
    return {attend_with_null(keys, query, *prepared(sets), log_weight, options), log_weight, {}};
  }
  const WindowSets* split = nullptr;
  if (const auto bulk = reading_.needs().bulk) {
    auto found = split_.find(sets);
    if (found == split_.end()) {
      found = split_.emplace(sets, split_window(*prepared(sets), bulk->window)).first;
    }
    split = &found->second;
  }
  return read_rows(reading_, {query, *sets, queries, layer}, keys, options,
                   {.estimates = estimates, .sets = split});
}

const std::shared_ptr<const KeySets>& LayerReading::prepared(
    const std::shared_ptr<const KeySets>& sets) {
  auto& made = prepared_[sets];
  if (made == nullptr) {
    made =
        std::make_shared<const KeySets>(reading_.prepare(*sets, PieceSets::of_sets(sets->sets())));
  }
  return made;
}

}  // namespace motet
