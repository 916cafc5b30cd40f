#include "motet/attention/window.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "attention/checked.h"
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
  const auto pieces = sets.sets() - 2;
  std::vector<Span> near, far;
  for (const auto& span : sets.spans()) {
    if (span.set == 0 || span.set == pieces + 1) {
      near.push_back(span);
      continue;
    }
    TORCH_INTERNAL_ASSERT(!span.causal, "all keys of a piece are seen");
    const auto bulk = bulk_of(window, span.keys, span.set == pieces);
    const auto part = [&](int64_t set, int64_t first, int64_t last) {
      auto some = span;
      some.set = set;
      some.first_key += first;
      some.keys = last - first;
      return some;
    };
    near.push_back(part(span.set, 0, bulk.first));
    far.push_back(part(pieces + 1 + span.set, bulk.first, bulk.last));
    near.push_back(part(span.set, bulk.last, span.keys));
  }
  auto all = near;
  all.insert(all.end(), far.begin(), far.end());
  const auto of = [&](std::vector<Span> spans) {
    return KeySets(2 * pieces + 2, sets.rows(), sets.keys(), std::move(spans));
  };
  return {of(std::move(all)), of(std::move(near)), of(std::move(far))};
}

Row join_window(Row row) {
  const auto pieces = row.set_lse.size(3) / 2 - 1;
  const auto windows = [&](const Tensor& x) { return x.slice(3, 1, 1 + pieces); };
  const auto bulks = [&](const Tensor& x) { return x.slice(3, 2 + pieces); };
  const auto with = [&](const Tensor& x, const Tensor& joined) {
    return torch::cat({x.slice(3, 0, 1), joined, x.slice(3, 1 + pieces, 2 + pieces)}, 3);
  };
  const auto a = windows(row.set_lse), b = bulks(row.set_lse);
  const auto none =
      (a == -std::numeric_limits<double>::infinity()).logical_and(b == a);  // no gradient there
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
  row.set_lse = with(row.set_lse, lse.masked_fill(none, -std::numeric_limits<double>::infinity()));
  return row;
}

}  // namespace motet
