#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "motet/error.h"
#include "motet/eval/fields.h"

/// Whether tables of rows that were read from a file can be drawn: types alone do not say so.
namespace motet::report {

/// Shapes of the tables of many rows, which are alike, but for tables in lists: those of attention
/// itself are as long as a row sees keys.
class Shapes {
 public:
  /// Throws Error, which names the figure, where a table of this row is empty or ragged, or of
  /// another shape than in rows before it.
  template <class Row>
  void check(const Row& row, const std::string& where) {
    for_each_figure<Row>([&]<class Part, Join kJoin>(const Figure<Row, Part, kJoin>& one) {
      check_value(row.*one.value, where + "." + one.name);
    });
  }

 private:
  using Table = std::vector<std::vector<double>>;

  template <class Value>
  void check_value(const Value& value, const std::string& where) {
    if constexpr (HasFields<Value>) {
      check(value, where);
    }
  }
  template <class Value>
  void check_value(const std::optional<Value>& value, const std::string& where) {
    if (value) {
      check_value(*value, where);
    }
  }
  template <class Value>
  void check_value(const std::vector<Value>& values, const std::string& where) {
    for (const auto& value : values) {
      Shapes().check_value(value, where);
    }
  }
  void check_value(const Table& table, const std::string& where) {
    require(!table.empty() && !table[0].empty(), where, " has no values");
    for (const auto& line : table) {
      require(line.size() == table[0].size(), where, " has lines of ", table[0].size(), " and of ",
              line.size(), " values");
    }
    const std::vector<std::size_t> shape{table.size(), table[0].size()};
    const auto [known, is_new] = shapes_.emplace(where, shape);
    require(known->second == shape, where, " is ", shape[0], " x ", shape[1], " here, and ",
            known->second[0], " x ", known->second[1], " in an earlier row");
  }

  std::map<std::string, std::vector<std::size_t>> shapes_;
};

/// All rows of a table of a document.
template <class Row>
void check_shapes(const std::vector<Row>& rows, const std::string& where) {
  Shapes shapes;
  for (const auto& row : rows) {
    shapes.check(row, where);
  }
}

}  // namespace motet::report
