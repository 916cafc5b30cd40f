#pragma once

#include <optional>

namespace motet {

/// How a figure of single items, such as segments, becomes that of several.
enum class Join {
  kItem,     ///< which item it is; nothing for several
  kKey,      ///< items are joined where they agree in all keys
  kSame,     ///< the first item's: a setting, or a shape that all share
  kSum,      ///< the sum
  kLargest,  ///< the largest; nothing where an item has none
  kMean,     ///< the mean, weighted by tokens; of a table element by element
  kDerived,  ///< made from the others, by the row's own `derive`
};

/// A figure of a row: its name in files, where it is, and how items join. A row struct lists its
/// figures once, in a static member `fields(visit)`, which calls `visit` with each of them in the
/// order of files; joining, JSON, CSV and whatever else knows all figures follow from that list.
/// `figure::key`, `figure::mean` and so on make them.
template <class Row, class Value, Join kJoin>
struct Figure {
  static constexpr Join join = kJoin;  ///< how items join
  const char* name;                    ///< in files
  Value Row::*value;                   ///< where it is
  bool later = false;                  ///< whether files of earlier versions lack it: see `later`
};

/// A mean over tokens and its standard error, which join to those over the tokens of all items: one
/// entry of the list, two figures of files.
template <class Row, class Value>
struct MeanFigure {
  const char* name;                   ///< of the mean, in files
  Value Row::*value;                  ///< double, or an optional one
  const char* error_name;             ///< of its standard error
  std::optional<double> Row::*error;  ///< nothing for a single token
};

/// Makers of figures, named as Join.
namespace figure {

/// Which item the row is of.
template <class Row, class Value>
Figure<Row, Value, Join::kItem> item(const char* name, Value Row::*value) {
  return {name, value};
}
/// What tells kinds of rows apart.
template <class Row, class Value>
Figure<Row, Value, Join::kKey> key(const char* name, Value Row::*value) {
  return {name, value};
}
/// What all items share.
template <class Row, class Value>
Figure<Row, Value, Join::kSame> same(const char* name, Value Row::*value) {
  return {name, value};
}
/// A sum.
template <class Row, class Value>
Figure<Row, Value, Join::kSum> sum(const char* name, Value Row::*value) {
  return {name, value};
}
/// A largest value.
template <class Row, class Value>
Figure<Row, Value, Join::kLargest> largest(const char* name, Value Row::*value) {
  return {name, value};
}
/// A mean over tokens.
template <class Row, class Value>
Figure<Row, Value, Join::kMean> mean(const char* name, Value Row::*value) {
  return {name, value};
}
/// A mean over tokens and its standard error.
template <class Row, class Value>
MeanFigure<Row, Value> mean(const char* name, Value Row::*value, const char* error_name,
                            std::optional<double> Row::*error) {
  return {name, value, error_name, error};
}
/// What `derive` makes of others.
template <class Row, class Value>
Figure<Row, Value, Join::kDerived> derived(const char* name, Value Row::*value) {
  return {name, value};
}

/// One that files of earlier versions do not have: nothing, where it is not there.
template <class Row, class Value, Join kJoin>
Figure<Row, std::optional<Value>, kJoin> later(Figure<Row, std::optional<Value>, kJoin> figure) {
  figure.later = true;
  return figure;
}

}  // namespace figure

/// Whether a type lists its figures.
template <class Row>
concept HasFields = requires {
  Row::fields([](const auto&) {});
};

/// Whether the figures of a struct stand beside those of the row in files, their names behind its
/// own: it says so by a member `kFlat`.
template <class Value>
constexpr bool kIsFlat = requires {
  Value::kFlat;
};

/// Calls `visit` with each figure of a row as it stands in files: a MeanFigure as two of them.
template <HasFields Row, class Visit>
void for_each_figure(Visit&& visit) {
  Row::fields([&](const auto& one) {
    if constexpr (requires { one.error; }) {
      visit(figure::mean(one.name, one.value));
      visit(figure::mean(one.error_name, one.error));
    } else {
      visit(one);
    }
  });
}

}  // namespace motet
