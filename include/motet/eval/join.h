#pragma once

#include <algorithm>
#include <optional>
#include <type_traits>
#include <vector>

#include "motet/error.h"
#include "motet/eval/fields.h"
#include "motet/eval/mean.h"

namespace motet {

namespace join_detail {

/// What items weigh in a mean: their tokens.
struct Weights {
  std::vector<double> tokens;  ///< of each
  double total = 0;            ///< of all
};

template <class T>
struct IsOptional : std::false_type {};
template <class T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

template <class Value>
Value mean_of(const std::vector<const Value*>& items, const Weights& weights);

/// Pointers to a part of each item.
template <class Value, class Part>
auto parts_of(const std::vector<const Value*>& items, const Part& part) {
  std::vector<decltype(&part(*items[0]))> parts;
  for (const auto* item : items) {
    parts.push_back(&part(*item));
  }
  return parts;
}

template <class Value>
bool all_known(const std::vector<const std::optional<Value>*>& items) {
  return std::all_of(items.begin(), items.end(),
                     [](const auto* item) { return item->has_value(); });
}

template <Join kJoin, class Value>
Value joined_value(const std::vector<const Value*>& items, const Weights& weights) {
  if constexpr (kJoin == Join::kItem) {
    return {};
  } else if constexpr (kJoin == Join::kSum) {
    Value sum = 0;
    std::for_each(items.begin(), items.end(), [&](const Value* item) { sum += *item; });
    return sum;
  } else if constexpr (kJoin == Join::kMean) {
    return mean_of(items, weights);
  } else if constexpr (kJoin == Join::kLargest && IsOptional<Value>::value) {
    const auto value = [](const Value& item) -> const auto& { return *item; };
    return all_known(items) ? joined_value<kJoin>(parts_of(items, value), weights) : Value();
  } else if constexpr (kJoin == Join::kLargest) {
    return **std::max_element(items.begin(), items.end(),
                              [](const Value* a, const Value* b) { return *a < *b; });
  } else {
    return *items[0];
  }
}

/// The mean of values of one shape: numbers, optional ones, tables, structs that list figures.
template <class Value>
Value mean_of(const std::vector<const Value*>& items, const Weights& weights) {
  if constexpr (IsOptional<Value>::value) {
    const auto value = [](const Value& item) -> const auto& { return *item; };
    return all_known(items) ? Value(mean_of(parts_of(items, value), weights)) : Value();
  } else if constexpr (IsVector<Value>::value) {
    Value all = *items[0];
    for (const auto* item : items) {
      require(item->size() == all.size(), "motet: figures of ", item->size(), " and of ",
              all.size(), " elements cannot be joined");
    }
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i] = mean_of(parts_of(
                           items, [i](const Value& item) -> const auto& { return item[i]; }),
                       weights);
    }
    return all;
  } else if constexpr (HasFields<Value>) {
    Value all = *items[0];
    for_each_figure<Value>([&]<class Part, Join kJoin>(const Figure<Value, Part, kJoin>& one) {
      const auto part = [&](const Value& item) -> const Part& { return item.*one.value; };
      all.*one.value = joined_value<kJoin>(parts_of(items, part), weights);
    });
    return all;
  } else {
    static_assert(std::is_same_v<Value, double>, "a figure of this type has no mean");
    double sum = 0;
    for (std::size_t i = 0; i < items.size(); ++i) {
      sum += *items[i] * weights.tokens[i] / weights.total;
    }
    return sum;
  }
}

/// Joins a mean and its standard error into `all`.
template <class Row, class Value>
void join_figure(Row& all, const std::vector<const Row*>& rows, const Weights& weights,
                 const MeanFigure<Row, Value>& one) {
  PooledMean pooled;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::optional<double> mean = rows[i]->*one.value;
    if (!mean) {
      all.*one.value = Value();
      all.*one.error = {};
      return;
    }
    pooled.add(weights.tokens[i], *mean, rows[i]->*one.error);
  }
  all.*one.value = pooled.mean().value;
  all.*one.error = pooled.mean().standard_error;
}

template <class Row, class Value, Join kJoin>
void join_figure(Row& all, const std::vector<const Row*>& rows, const Weights& weights,
                 const Figure<Row, Value, kJoin>& one) {
  const auto value = [&](const Row& row) -> const Value& { return row.*one.value; };
  all.*one.value = joined_value<kJoin>(parts_of(rows, value), weights);
}

}  // namespace join_detail

/// One row of several, which agree in their keys: each figure as its Join says, weighted by the
/// figure `tokens` of each row. Throws Error for figures of different shapes.
template <HasFields Row>
Row joined(const std::vector<const Row*>& rows) {
  join_detail::Weights weights;
  for (const auto* row : rows) {
    weights.tokens.push_back(static_cast<double>(row->tokens));
    weights.total += weights.tokens.back();
  }
  Row all = *rows[0];
  Row::fields([&](const auto& one) { join_detail::join_figure(all, rows, weights, one); });
  if constexpr (requires { all.derive(); }) {
    all.derive();
  }
  return all;
}

/// Whether two rows are of the same kind: they agree in every key.
template <HasFields Row>
bool same_keys(const Row& a, const Row& b) {
  bool same = true;
  for_each_figure<Row>([&]<class Value, Join kJoin>(const Figure<Row, Value, kJoin>& one) {
    if constexpr (kJoin == Join::kKey) {
      same = same && a.*one.value == b.*one.value;
    }
  });
  return same;
}

/// Rows of single items joined to one for each kind, in the order of their first appearance.
template <HasFields Row>
std::vector<Row> join_items(const std::vector<Row>& rows) {
  std::vector<std::vector<const Row*>> groups;
  for (const auto& row : rows) {
    const auto found = std::find_if(groups.begin(), groups.end(),
                                    [&](const auto& group) { return same_keys(*group[0], row); });
    (found == groups.end() ? groups.emplace_back() : *found).push_back(&row);
  }
  std::vector<Row> all;
  for (const auto& group : groups) {
    all.push_back(joined(group));
  }
  return all;
}

}  // namespace motet
