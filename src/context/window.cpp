#include "motet/context/window.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <utility>

#include "attention/merging.h"
#include "attention/plain.h"
#include "motet/error.h"

namespace motet {

using torch::Tensor;

void Window::validate() const {
  require(first >= 0, "motet::Window: first = ", first, "; a number of keys is wanted");
  require(last >= 0, "motet::Window: last = ", last, "; a number of keys is wanted");
}

KeyRange bulk_of(const Window& window, int64_t length, bool is_last) {
  const auto first = std::min(window.first, length);
  return {first, is_last ? std::max(first, length - window.last) : length};
}

WindowSets split_window(const KeySets& sets, const Window& window) {
  const auto meaning = PieceSets::of_sets(sets.sets());
  const auto split = meaning.with_bulks();
  std::vector<Span> near, far;
  for (const auto& span : sets.spans()) {
    if (!meaning.is_piece(span.set)) {
      near.push_back(span);
      continue;
    }
    TORCH_INTERNAL_ASSERT(!span.causal, "all keys of a piece are seen");
    const auto piece = span.set - meaning.piece(0);
    const auto bulk = bulk_of(window, span.keys, piece + 1 == meaning.pieces());
    const auto part = [&](int64_t set, int64_t first, int64_t last) {
      auto some = span;
      some.set = set;
      some.first_key += first;
      some.keys = last - first;
      for (auto& visible : some.first_visible) {
        visible = std::clamp<int64_t>(visible - first, 0, some.keys);
      }
      return some;
    };
    near.push_back(part(span.set, 0, bulk.first));
    far.push_back(part(split.bulk(piece), bulk.first, bulk.last));
    near.push_back(part(span.set, bulk.last, span.keys));
  }
  auto all = near;
  all.insert(all.end(), far.begin(), far.end());
  const auto of = [&](std::vector<Span> spans) {
    KeySets made(split.count(), sets.rows(), sets.keys(), std::move(spans));
    for (int64_t set = 0; set < sets.sets(); ++set) {
      if (sets.factor(set) == 1) {
        continue;
      }
      made = made.with_factor(set, sets.factor(set));
      if (meaning.is_piece(set)) {
        made = made.with_factor(split.bulk(set - meaning.piece(0)), sets.factor(set));
      }
    }
    return made;
  };
  return {split, of(std::move(all)), of(std::move(near)), of(std::move(far))};
}

namespace {

/// As `join_window`, of all but the largest scores.
void join_in_one_pass(Row& row, const PieceSets& meaning) {
  const auto split = meaning.count(), sets = meaning.whole().count();
  auto sizes = row.set_lse.sizes().vec();
  sizes[3] = sets;
  const auto lse = at::empty(sizes, row.set_lse.options());
  const auto entropy = row.set_entropy.defined() ? at::empty_like(lse) : Tensor();
  const auto* split_lse = row.set_lse.const_data_ptr<float>();
  const auto* split_entropy = entropy.defined() ? row.set_entropy.const_data_ptr<float>() : nullptr;
  auto* joined = lse.data_ptr<float>();
  auto* joined_entropy = entropy.defined() ? entropy.data_ptr<float>() : nullptr;
  const auto rows = row.lse.numel();
  at::parallel_for(
      0, rows, std::max<int64_t>(1, (1 << 12) / sets), [&](int64_t first, int64_t last) {
        for (auto i = first; i < last; ++i) {
          for (int64_t set = 0; set < sets; ++set) {
            const auto to = i * sets + set, near = i * split + set;
            if (!meaning.is_piece(set)) {
              joined[to] = split_lse[near];
              if (joined_entropy != nullptr) {
                joined_entropy[to] = split_entropy[near];
              }
              continue;
            }
            const auto far = i * split + meaning.bulk(set - meaning.piece(0));
            double weights[2];
            const MergedRow piece(split_lse + near,
                                  split_entropy != nullptr ? split_entropy + near : nullptr,
                                  far - near, weights, 2);
            joined[to] = piece.lse;
            if (joined_entropy != nullptr) {
              joined_entropy[to] = piece.entropy;
            }
          }
        }
      });
  row.set_lse = lse;
  row.set_entropy = entropy;
}

}  // namespace

Row join_window(Row row, const PieceSets& meaning) {
  if (!row.set_top.defined() &&
      is_plain({row.set_lse, row.set_entropy.defined() ? row.set_entropy : row.set_lse})) {
    join_in_one_pass(row, meaning);
    return row;
  }
  const auto windows = [&](const Tensor& x) { return meaning.pieces_in(x); };
  const auto bulks = [&](const Tensor& x) { return meaning.bulks_in(x); };
  const auto with = [&](const Tensor& x, const Tensor& joined) {
    return torch::cat({meaning.prefix_in(x).unsqueeze(3), joined, meaning.own_in(x).unsqueeze(3)},
                      3);
  };
  const Shares shares({windows(row.set_lse), bulks(row.set_lse)});
  if (row.set_entropy.defined()) {
    const auto entropy = shares.entropy({windows(row.set_entropy), bulks(row.set_entropy)});
    row.set_entropy = with(row.set_entropy, entropy.clamp_min(0));
  }
  if (row.set_top.defined()) {
    const auto both = torch::cat({windows(row.set_top), bulks(row.set_top)}, -1);
    row.set_top = with(row.set_top, std::get<0>(both.topk(row.set_top.size(-1), -1)));
  }
  row.set_lse = with(row.set_lse, shares.lse);
  return row;
}

}  // namespace motet
