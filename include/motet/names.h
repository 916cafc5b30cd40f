#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "motet/error.h"

namespace motet {

/// What users call the values of an enumeration:
/// `constexpr Names<Penalty, 2> kNames({{Penalty::kTail, "tail"}, {Penalty::kLog, "log"}});`
template <class Value, std::size_t kCount>
class Names {
 public:
  using Name = std::pair<Value, std::string_view>;  ///< a value and what it is called

  /// All values, in the order in which messages list them.
  explicit constexpr Names(const Name (&all)[kCount]) : all_(std::to_array(all)) {}

  /// Throws Error for a value that has none.
  std::string_view of(Value value) const {
    for (const auto& [known, name] : all_) {
      if (known == value) {
        return name;
      }
    }
    fail("motet: a value without a name: ", static_cast<int>(value));
  }

  /// Nothing, where no value has that name.
  std::optional<Value> find(std::string_view wanted) const {
    for (const auto& [value, name] : all_) {
      if (name == wanted) {
        return value;
      }
    }
    return {};
  }

  /// The value of that name; where there is none, throws Error: "WHAT 'NAME': one of a, b is
  /// wanted".
  Value named(std::string_view what, std::string_view wanted) const {
    if (const auto found = find(wanted)) {
      return *found;
    }
    fail(what, " '", wanted, "': one of ", list(), " is wanted");
  }

  /// All of them: "a, b, c".
  std::string list() const {
    std::string names;
    for (const auto& one : all_) {
      names += (names.empty() ? "" : ", ") + std::string(one.second);
    }
    return names;
  }

 private:
  std::array<Name, kCount> all_;
};

}  // namespace motet
