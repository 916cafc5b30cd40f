#pragma once

#include <nlohmann/json.hpp>
#include <optional>

/// Fields of a document: null where a figure cannot be had.
namespace motet::report {

template <class T>
nlohmann::ordered_json value_of(const T& value) {
  return value;
}
template <class T>
nlohmann::ordered_json value_of(const std::optional<T>& value) {
  return value ? nlohmann::ordered_json(*value) : nlohmann::ordered_json();
}

template <class T>
void read_value(const nlohmann::ordered_json& json, T& value) {
  value = json.get<T>();
}
template <class T>
void read_value(const nlohmann::ordered_json& json, std::optional<T>& value) {
  value = json.is_null() ? std::nullopt : std::optional<T>(json.get<T>());
}

}  // namespace motet::report
