#include "motet/context/window.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "attention/infinity.h"
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
    return KeySets(split.count(), sets.rows(), sets.keys(), std::move(spans));
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
  constexpr auto kNone = -std::numeric_limits<float>::infinity();
  const auto rows = row.lse.numel();
  at::parallel_for(
      0, rows, std::max<int64_t>(1, (1 << 12) / sets), [&](int64_t first, int64_t last) {
        for (auto i = first; i < last; ++i) {
          for (int64_t set = 0; set < sets; ++set) {
            const bool piece = meaning.is_piece(set);
            const auto to = i * sets + set, near = i * split + set;
            const auto far = piece ? i * split + meaning.bulk(set - meaning.piece(0)) : near;
            const auto a = split_lse[near], b = piece ? split_lse[far] : kNone;
            const auto most = std::max(a, b);
            if (b == kNone || a == kNone) {
              joined[to] = most;
              if (joined_entropy != nullptr) {
                joined_entropy[to] = split_entropy[b == kNone ? near : far];
              }
              continue;
            }
            const double p = std::exp(static_cast<double>(a) - most);
            const double q = std::exp(static_cast<double>(b) - most);
            joined[to] = static_cast<float>(most + std::log(p + q));
            if (joined_entropy != nullptr) {
              const auto u = p / (p + q), v = q / (p + q);
              const auto hesitation = (u > 0 ? u * std::log(u) : 0) + (v > 0 ? v * std::log(v) : 0);
              joined_entropy[to] = static_cast<float>(
                  std::max(u * split_entropy[near] + v * split_entropy[far] - hesitation, 0.0));
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
  const auto a = windows(row.set_lse), b = bulks(row.set_lse);
  const auto none = (a == -kInfinity).logical_and(b == a);  // no gradient there
  const auto lse = torch::logaddexp(a.masked_fill(none, 0), b.masked_fill(none, 0));
  if (row.set_entropy.defined()) {
    const auto p = (a - lse).exp(), q = (b - lse).exp();
    const auto entropy = p * windows(row.set_entropy) + q * bulks(row.set_entropy) -
                         torch::xlogy(p, p) - torch::xlogy(q, q);
    row.set_entropy = with(row.set_entropy, entropy.clamp_min(0));
  }
  if (row.set_top.defined()) {
    const auto both = torch::cat({windows(row.set_top), bulks(row.set_top)}, -1);
    row.set_top = with(row.set_top, std::get<0>(both.topk(row.set_top.size(-1), -1)));
  }
  row.set_lse = with(row.set_lse, lse.masked_fill(none, -kInfinity));
  return row;
}

}  // namespace motet
