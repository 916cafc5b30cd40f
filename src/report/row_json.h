#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>
#include <vector>

#include "motet/eval/compare_row.h"
#include "motet/eval/fields.h"
#include "report/given.h"

/// Rows as objects of a document, from their lists of figures: null where a figure cannot be had.
namespace motet::report {

using nlohmann::ordered_json;

// All of them before any is used: they take each other's elements.
template <class T>
ordered_json json_of(const T& value);
template <class T>
ordered_json json_of(const std::optional<T>& value);
template <class T>
ordered_json json_of(const std::vector<T>& values);
inline ordered_json json_of(const TextBin& bin) {
  return ordered_json::array({bin.first, bin.tokens, bin.entropy});
}

template <class T>
void read(const Given& json, T& value);
template <class T>
void read(const Given& json, std::optional<T>& value);
template <class T>
void read(const Given& json, std::vector<T>& values);
inline void read(const Given& json, TextBin& bin) {
  bin = {json.at(std::size_t{0}), json.at(1), json.at(2)};
}

/// A value that files have as it is, or a struct that lists its figures.
template <class T>
ordered_json json_of(const T& value) {
  if constexpr (HasFields<T>) {
    auto json = ordered_json::object();
    if constexpr (requires { T::kTask; }) {
      json["task"] = T::kTask;
    }
    for_each_figure<T>([&]<class Part, Join kJoin>(const Figure<T, Part, kJoin>& one) {
      const auto& part = value.*one.value;
      if constexpr (kJoin == Join::kItem) {
        if (!part) {
          return;  // of several items
        }
      }
      if constexpr (kIsFlat<Part>) {
        for_each_figure<Part>([&](const auto& figure) {
          json[std::string(one.name) + figure.name] = json_of(part.*figure.value);
        });
      } else {
        json[one.name] = json_of(part);
      }
    });
    return json;
  } else {
    return value;
  }
}
template <class T>
ordered_json json_of(const std::optional<T>& value) {
  return value ? json_of(*value) : ordered_json();
}
template <class T>
ordered_json json_of(const std::vector<T>& values) {
  auto json = ordered_json::array();
  for (const auto& value : values) {
    json.push_back(json_of(value));
  }
  return json;
}

/// The reverse of json_of, of a single item where rows are.
template <class T>
void read(const Given& json, T& value) {
  if constexpr (HasFields<T>) {
    for_each_figure<T>([&]<class Part, Join kJoin>(const Figure<T, Part, kJoin>& one) {
      if constexpr (kJoin == Join::kItem) {  // files name the item of every row that is read back
        read(json.at(one.name), (value.*one.value).emplace());
      } else if (!one.later || json.contains(one.name)) {
        read(json.at(one.name), value.*one.value);
      }
    });
  } else {
    value = json.template get<T>();
  }
}
template <class T>
void read(const Given& json, std::optional<T>& value) {
  if (json.is_null()) {
    value.reset();
  } else {
    read(json, value.emplace());
  }
}
template <class T>
void read(const Given& json, std::vector<T>& values) {
  for (const auto& one : json.elements()) {
    read(one, values.emplace_back());
  }
}

}  // namespace motet::report
