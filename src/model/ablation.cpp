#include "motet/model/ablation.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "model/ablator.h"
#include "motet/error.h"
#include "motet/names.h"

namespace motet {
namespace {

using torch::Tensor;

constexpr Names<Ablate, 3> kNames({{Ablate::kZero, "zero"},
                                   {Ablate::kMean, "mean"},
                                   {Ablate::kOwnOnly, "own"}});

}  // namespace

Ablate ablate_named(std::string_view name) { return kNames.named("the ablation by", name); }

std::string_view name_of(Ablate kind) { return kNames.of(kind); }

std::vector<LayerHead> heads_named(std::string_view text, const std::string& where) {
  constexpr std::string_view kApart = ", \t\r\n";
  std::vector<LayerHead> heads;
  for (std::size_t first = text.find_first_not_of(kApart); first != std::string_view::npos;) {
    const auto last = std::min(text.find_first_of(kApart, first), text.size());
    const auto word = text.substr(first, last - first);
    LayerHead head;
    const auto* end = word.data() + word.size();
    auto read = std::from_chars(word.data(), end, head.layer);
    if (read.ec == std::errc() && read.ptr != end && *read.ptr == '.') {
      read = std::from_chars(read.ptr + 1, end, head.head);
    } else {
      read.ec = std::errc::invalid_argument;
    }
    require(read.ec == std::errc() && read.ptr == end && head.layer >= 0 && head.head >= 0, where,
            ": '", word, "' is no head; LAYER.HEAD is, as 3.0");
    heads.push_back(head);
    first = text.find_first_not_of(kApart, last);
  }
  require(!heads.empty(), where, ": names no head; LAYER.HEAD does, as 3.0");
  std::sort(heads.begin(), heads.end());
  heads.erase(std::unique(heads.begin(), heads.end()), heads.end());
  return heads;
}

void Ablation::check(int64_t layers, int64_t heads_there) const {
  for (const auto& head : heads) {
    require(head.layer >= 0 && head.layer < layers && head.head >= 0 && head.head < heads_there,
            "motet::Ablation: head ", head.layer, ".", head.head, ", but the model has ", layers,
            " layers of ", heads_there, " heads, counted from 0");
  }
}

Ablator::Ablator(Ablation ablation, int64_t layers, int64_t heads)
    : ablation_(std::move(ablation)) {
  ablation_.check(layers, heads);
}

std::vector<int64_t> Ablator::apply(int64_t layer, const std::vector<int64_t>& queries, Row& row,
                                    const std::function<Row(int64_t head)>& own_only) {
  std::vector<int64_t> own_alone;
  for (std::size_t i = 0; i < ablation_.heads.size(); ++i) {
    if (ablation_.heads[i].layer != layer) {
      continue;
    }
    const auto head = ablation_.heads[i].head;
    const auto of_head = [&](const Tensor& x) { return x.narrow(1, head, 1); };
    switch (ablation_.kind) {
      case Ablate::kZero:
        of_head(row.out).zero_();
        break;
      case Ablate::kMean:
        for (std::size_t query = 0; query + 1 < queries.size(); ++query) {
          auto rows = of_head(row.out).slice(2, queries[query], queries[query + 1]);
          if (rows.size(2) == 0) {  // the query has none in this pass
            continue;
          }
          auto& seen = seen_[{i, query}];
          auto sums = rows.to(torch::kFloat64).cumsum(2);
          if (seen.rows > 0) {
            sums = sums + seen.sum;
          }
          const auto counts =
              torch::arange(seen.rows + 1, seen.rows + rows.size(2) + 1, sums.options())
                  .unsqueeze(1);
          seen.rows += rows.size(2);
          seen.sum = sums.slice(2, -1).clone();
          rows.copy_(sums / counts);
        }
        break;
      case Ablate::kOwnOnly: {
        const auto own = own_only(head);
        for (const auto field :
             {&Row::out, &Row::lse, &Row::entropy, &Row::set_lse, &Row::set_entropy}) {
          if ((row.*field).defined()) {
            of_head(row.*field).copy_(own.*field);
          }
        }
        own_alone.push_back(head);
        break;
      }
    }
  }
  return own_alone;
}

void Ablator::repeat(int64_t queries) {
  for (std::size_t i = 0; i < ablation_.heads.size(); ++i) {
    const auto found = seen_.find({i, 0});
    for (int64_t query = 1; found != seen_.end() && query < queries; ++query) {
      seen_[{i, query}] = found->second;
    }
  }
}

}  // namespace motet
