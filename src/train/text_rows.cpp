#include "motet/train/text_rows.h"

#include <ATen/ATen.h>

#include <numeric>
#include <random>
#include <utility>

#include "motet/error.h"

namespace motet {

using torch::Tensor;

Tensor text_rows(const std::vector<int64_t>& tokens, int64_t length) {
  require(length >= 2, "motet::text_rows: rows of ", length,
          " tokens have none that follows another");
  const auto rows = static_cast<int64_t>(tokens.size()) / length;
  require(rows > 0, "motet::text_rows: ", tokens.size(), " tokens do not fill a row of ", length,
          "; choose shorter rows or a longer text");
  return torch::tensor(tokens, torch::kInt64).slice(0, 0, rows * length).view({rows, length});
}

ShuffledRows::ShuffledRows(Tensor rows, uint64_t seed) : rows_(std::move(rows)), seed_(seed) {
  require(rows_.dim() == 2 && rows_.size(0) > 0, "motet::ShuffledRows: rows are ", rows_.sizes(),
          "; [rows, length] is wanted, of at least one row");
  order_.resize(rows_.size(0));
}

Tensor ShuffledRows::take(int64_t first, int64_t count) {
  const auto rows = rows_.size(0);
  std::vector<int64_t> chosen;
  for (auto place = first; place < first + count; ++place) {
    if (const auto epoch = place / rows; epoch != epoch_) {
      std::seed_seq seeds{static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32),
                          static_cast<uint32_t>(epoch)};
      std::mt19937_64 random(seeds);
      std::iota(order_.begin(), order_.end(), 0);
      for (auto i = rows - 1; i > 0; --i) {  // std::shuffle differs between standard libraries
        std::swap(order_[i], order_[random() % (i + 1)]);
      }
      epoch_ = epoch;
    }
    chosen.push_back(order_[place % rows]);
  }
  return rows_.index_select(0, torch::tensor(chosen, torch::kInt64));
}

Cut::Cut(int64_t length)
    : length_(length),
      prefix_(torch::empty({0}, torch::kInt64)),
      predicts_(torch::ones({length - 1}, torch::kBool)) {
  require(length >= 2, "motet::Cut: rows of ", length, " tokens have none that follows another");
}

Cut::Cut(int64_t length, CutOptions options) : length_(length) {
  const auto context = length - options.scored - 1;
  require(options.scored >= 1, "motet::Cut: ", options.scored,
          " scored tokens; at least 1 is wanted");
  require(context >= 1, "motet::Cut: rows of ", length, " tokens, ", options.scored,
          " of them scored, leave no context; rows of at least ", options.scored + 2,
          " tokens are wanted");
  layout_ = make_layout(static_cast<int64_t>(options.prefix.size()),
                        split_tokens(context, options.pieces), options.positions);
  prefix_ = torch::tensor(options.prefix, torch::kInt64);
  predicts_ = torch::ones({length - 1}, torch::kBool);
  if (!options.context) {
    predicts_.slice(0, 0, context).fill_(false);
  }
  int64_t end = 0;
  for (const auto piece : layout_.pieces) {  // its last token is followed by nothing that it knows
    end += piece;
    predicts_[end - 1] = false;
  }
}

int64_t Cut::predicted() const { return predicts_.sum().item<int64_t>(); }

int64_t Cut::positions() const {
  return layout_.query_position + prefix_.size(0) + length_ - 1 - layout_.tokens();
}

Tensor Cut::tokens(const Tensor& rows) const {
  require(rows.dim() == 2 && rows.size(1) == length_, "motet::Cut: rows are ", rows.sizes(),
          "; [batch, ", length_, "] is wanted");
  return at::cat({prefix_.expand({rows.size(0), -1}), rows.slice(1, 0, length_ - 1)}, 1);
}

Tensor Cut::targets(const Tensor& rows) const {
  const auto next = rows.slice(1, 1).masked_fill(predicts_.logical_not(), kNone);
  return at::cat({at::full({rows.size(0), prefix_.size(0)}, kNone, next.options()), next}, 1);
}

}  // namespace motet
