#pragma once

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "motet/error.h"

namespace motet::text {

/// A JSON file, in UTF-8 with or without a mark. Throws Error with the byte where it stops being
/// JSON.
nlohmann::json read_json(const std::filesystem::path& path);

/// A value in a JSON file that knows where it stands, so that an error can say so.
class Field {
 public:
  Field(std::string file, const nlohmann::json& value) : file_(std::move(file)), value_(&value) {}

  const nlohmann::json& value() const { return *value_; }

  /// The member `name`; nothing when it is absent or null. Throws Error when this is no object.
  std::optional<Field> find(std::string_view name) const;
  Field at(std::string_view name) const;  ///< throws Error when it is absent or null

  std::vector<Field> elements() const;     ///< throws Error when this is no array
  Field element(std::size_t index) const;  ///< of an array that has it
  const std::string& string() const;
  bool boolean() const;
  int64_t id() const;     ///< an integer that a token's id can be: 0 to 2^31 - 1
  int64_t count() const;  ///< an integer of at least 0

  /// Throws Error: the file, where in it, and `parts`.
  template <class... Parts>
  [[noreturn]] void fail(const Parts&... parts) const {
    motet::fail(file_, ": ", path_, path_.empty() ? "" : ": ", parts...);
  }

  template <class... Parts>
  void require(bool holds, const Parts&... parts) const {
    if (!holds) {
      fail(parts...);
    }
  }

 private:
  Field(const Field& parent, const std::string& path, const nlohmann::json& value)
      : file_(parent.file_), path_(parent.path_ + path), value_(&value) {}

  std::string file_;
  std::string path_;  // such as pre_tokenizer.pretokenizers[1]
  const nlohmann::json* value_;
};

/// The `type` of a component of a tokenizer. Throws Error unless it is one of `supported`.
std::string type_of(const Field& component, std::initializer_list<std::string_view> supported);

}  // namespace motet::text
