#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "motet/error.h"

namespace motet::report {

/// A value of a document that was read, and where in it: what does not fit is an Error that names
/// it, and no exception of the JSON library.
class Given {
 public:
  explicit Given(const nlohmann::ordered_json& value, std::string path = {})
      : value_(&value), path_(std::move(path)) {}

  /// A field of an object.
  Given at(const char* name) const {
    const auto path = path_ + (path_.empty() ? "" : ".") + name;
    require(value_->is_object() && value_->contains(name), path, " is missing");
    return Given((*value_)[name], path);
  }
  /// An element of an array.
  Given at(std::size_t index) const {
    const auto path = path_ + "[" + std::to_string(index) + "]";
    require(value_->is_array() && index < value_->size(), path, " is missing");
    return Given((*value_)[index], path);
  }
  /// All of them.
  std::vector<Given> elements() const {
    require(value_->is_array(), path_, " is ", shown(), "; a list is wanted");
    std::vector<Given> all;
    for (std::size_t i = 0; i < value_->size(); ++i) {
      all.push_back(at(i));
    }
    return all;
  }
  /// Whether an object has this field.
  bool contains(const char* name) const { return value_->is_object() && value_->contains(name); }
  bool is_null() const { return value_->is_null(); }

  template <class T>
  T get() const {
    try {
      return value_->get<T>();
    } catch (const nlohmann::ordered_json::exception&) {
      fail(path_, " is ", shown(), ", which is of another kind than is written there");
    }
  }
  template <class T>
  operator T() const {  // NOLINT: so that fields are taken as they are named
    return get<T>();
  }

 private:
  std::string shown() const {
    return value_->dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)
        .substr(0, 60);
  }

  const nlohmann::ordered_json* value_;
  std::string path_;
};

}  // namespace motet::report
