#include "model/reader_pass.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "attention/infinity.h"
#include "model/ablator.h"
#include "model/show.h"
#include "reading/null_rows.h"

namespace motet {
namespace {

using torch::Tensor;

/// Log weights that keep own keys alone, for rows of one head.
Tensor own_alone(const Row& row, const PieceSets& meaning) {
  auto weight = torch::full_like(row.set_lse.narrow(1, 0, 1), -kInfinity);
  meaning.own_in(weight).zero_();
  return weight;
}

/// Has a decision say that a head read own keys alone.
void tell_own_alone(ReadRows& rows, int64_t head, const PieceSets& whole) {
  const auto meaning = rows.bulk ? rows.bulk->sets.meaning : whole;
  auto& log_weight = rows.bulk ? rows.bulk->log_weight : rows.log_weight;
  if (!log_weight) {
    log_weight = torch::zeros_like(rows.row.set_lse);
  }
  const auto of_head = log_weight->narrow(1, head, 1).fill_(-kInfinity);
  meaning.own_in(of_head).zero_();
  if (rows.threshold) {
    rows.threshold->narrow(1, head, 1).fill_(-kInfinity);
  }
}

}  // namespace

Reader::Pass::Pass(Reader& reader, KeySets sets, std::vector<int64_t> key_positions,
                   std::vector<int64_t> row_positions, std::vector<int64_t> queries, int64_t reach)
    : reader_(reader),
      reading_(reader.reading_),
      meaning_(reading_.meaning_of(sets)),
      sets_(reader.model_.config(), std::move(sets), std::move(key_positions),
            std::move(row_positions)),
      queries_(std::move(queries)),
      reach_(reach),
      entropy_(needs_of(reader.probes_).entropy) {}

Tensor Reader::Pass::attend(int64_t layer, const Tensor& query, const Tensor& keys,
                            const Tensor& values, const ScoreRule& rule) {
  const auto& sets = sets_.of(layer);
  const auto local = append(layer, keys, values);
  const RowOptions options{.rule = rule, .entropy = entropy_};
  const auto first = reading_.is_first_pass();
  auto rows =
      reading_.read(layer, query, sets, queries_, local, options, reader_.bulks(layer, rule));
  if (first) {  // its keys come again
    take_back(layer);
    return rows.row.out;
  }
  const auto own_only = [&](int64_t head) {
    const auto kv_head = head * keys.size(1) / query.size(1);
    auto of_head = options;
    if (rows.factor) {
      of_head.factor = rows.factor->expand(rows.row.lse.sizes()).narrow(1, head, 1);
    }
    return attend_with_null(local.of_head(kv_head), query.narrow(1, head, 1), *sets,
                            own_alone(rows.row, meaning_), of_head);
  };
  for (const auto head : reader_.ablator_->apply(layer, queries_, rows.row, own_only)) {
    tell_own_alone(rows, head, meaning_);
  }
  const auto& context = reader_.context_;
  show(reader_.probes_,
       {.layer = layer,
        .layers = reader_.model_.config().layers,
        .kind = RowKind::kQuery,
        .first_row = reader_.rows_,
        .queries = queries_,
        .prefix = context.prefix.length(),
        .pieces = context.piece_lengths(),
        .sets = meaning_,
        .visible = reading_.prepared(sets),
        .rule = rule},
       rows, query, local);
  return rows.row.out;
}

LocalKeys Reader::Pass::append(int64_t layer, const Tensor& keys, const Tensor& values) {
  const auto& context = reader_.context_;
  std::vector<Tensor> all_keys, all_values;
  const auto add = [&](const EncodedPiece& piece) {
    all_keys.push_back(piece.keys[layer]);
    all_values.push_back(piece.values[layer]);
  };
  if (context.prefix.length() > 0) {
    add(context.prefix);
  }
  std::for_each(context.pieces.begin(), context.pieces.end(), add);
  for (std::size_t i = 0; i + 1 < queries_.size(); ++i) {
    auto &own_keys = reader_.keys_[layer][i], &own_values = reader_.values_[layer][i];
    const auto of_query = [&](const Tensor& x) {
      return queries_.size() == 2 ? x : x.slice(2, queries_[i], queries_[i + 1]);
    };
    own_keys.append(of_query(keys));
    own_values.append(of_query(values));
    all_keys.push_back(own_keys.filled());
    all_values.push_back(own_values.filled());
  }
  return {all_keys, all_values};
}

void Reader::Pass::take_back(int64_t layer) {
  for (std::size_t i = 0; i + 1 < queries_.size(); ++i) {
    reader_.keys_[layer][i].length -= queries_[i + 1] - queries_[i];
    reader_.values_[layer][i].length -= queries_[i + 1] - queries_[i];
  }
}

void Reader::Together::add(Part& part) {
  parts_.push_back(&part);
  tokens_.insert(tokens_.end(), part.tokens.begin(), part.tokens.end());
  positions_.insert(positions_.end(), part.positions.begin(), part.positions.end());
  lengths_.push_back(static_cast<int64_t>(part.tokens.size()));
}

std::vector<Tensor> Reader::Together::split(const Tensor& rows) const {
  return rows.split_with_sizes(lengths_, 0);
}

Tensor Reader::Together::attend(int64_t layer, const Tensor& query, const Tensor& keys,
                                const Tensor& values, const ScoreRule& rule) {
  if (parts_.size() == 1) {
    return parts_[0]->pass->attend(layer, query, keys, values, rule);
  }
  std::vector<Tensor> out;
  int64_t first = 0;
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const auto of_part = [&](const Tensor& x) { return x.narrow(2, first, lengths_[i]); };
    out.push_back(
        parts_[i]->pass->attend(layer, of_part(query), of_part(keys), of_part(values), rule));
    first += lengths_[i];
  }
  return torch::cat(out, 2);
}

int64_t Reader::Together::reach() const {
  int64_t reach = 0;
  for (const auto* part : parts_) {
    reach = std::max(reach, part->pass->reach());
  }
  return reach;
}

}  // namespace motet
