#include "json_field.h"

#include <algorithm>
#include <limits>

#include "files/lfs_pointer.h"
#include "motet/files/json.h"
#include "motet/files/mapped.h"

namespace motet::text {

nlohmann::json read_json(const std::filesystem::path& path) {
  const auto text = read_file(path);
  refuse_lfs_pointer(path, text);
  return parse_json(text, path.string());
}

std::optional<Field> Field::find(std::string_view name) const {
  require(value_->is_object(), "must be an object");
  const auto found = value_->find(name);
  if (found == value_->end() || found->is_null()) {
    return std::nullopt;
  }
  return Field(*this, (path_.empty() ? "" : ".") + std::string(name), *found);
}

Field Field::at(std::string_view name) const {
  const auto found = find(name);
  require(found.has_value(), "\"", name, "\" is missing");
  return *found;
}

std::vector<Field> Field::elements() const {
  require(value_->is_array(), "must be an array");
  std::vector<Field> all;
  all.reserve(value_->size());
  for (std::size_t i = 0; i < value_->size(); ++i) {
    all.push_back(element(i));
  }
  return all;
}

Field Field::element(std::size_t index) const {
  return Field(*this, "[" + std::to_string(index) + "]", (*value_)[index]);
}

const std::string& Field::string() const {
  require(value_->is_string(), "must be a string");
  return value_->get_ref<const std::string&>();
}

bool Field::boolean() const {
  require(value_->is_boolean(), "must be true or false");
  return value_->get<bool>();
}

int64_t Field::id() const {
  constexpr auto kLargest = std::numeric_limits<std::int32_t>::max();
  require(value_->is_number_unsigned() && value_->get<std::uint64_t>() <= kLargest,
          "must be an integer from 0 to ", kLargest);
  return value_->get<int64_t>();
}

int64_t Field::count() const {
  require(value_->is_number_unsigned() &&
              value_->get<std::uint64_t>() <= std::numeric_limits<std::int64_t>::max(),
          "must be an integer of at least 0, not ", value_->dump());
  return value_->get<int64_t>();
}

std::string type_of(const Field& component, std::initializer_list<std::string_view> supported) {
  const auto type = component.at("type").string();
  if (std::find(supported.begin(), supported.end(), type) == supported.end()) {
    std::string names;
    for (const auto name : supported) {
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    component.fail("type \"", type, "\" is not supported; supported: ", names);
  }
  return type;
}

}  // namespace motet::text
