#include "motet/model/config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "files/import_hint.h"
#include "files/lfs_pointer.h"
#include "motet/error.h"
#include "motet/files/json.h"
#include "motet/files/mapped.h"
#include "motet/model/family.h"

namespace motet {

std::optional<int64_t> Config::window(int64_t layer) const {
  if (windows.empty() || windows.at(layer) == 0) {
    return {};
  }
  return windows[layer];
}

bool Config::takes_long_factors(int64_t reach) const {
  for (const auto& one : {rope, window_rope}) {
    const auto* scaling = one ? std::get_if<LongRope>(&one->scaling) : nullptr;
    if (scaling != nullptr && reach > scaling->original_positions) {
      return true;
    }
  }
  return false;
}

using nlohmann::json;

const json& ConfigReader::field(const char* name) const {
  static const json kNone;
  const auto found = json_.find(name);
  return found == json_.end() ? kNone : *found;
}

bool ConfigReader::absent(const char* name) const { return !json_.contains(name); }

bool ConfigReader::is_null(const char* name) const {
  return !absent(name) && field(name).is_null();
}

void ConfigReader::fail(const char* name, const std::string& wanted) const {
  require(!absent(name), where_, ": has no '", path_, name, "'; ", wanted, " is wanted");
  auto value = field(name).dump(-1, ' ', false, json::error_handler_t::replace);
  if (value.size() > 60) {
    value = value.substr(0, 57) + "...";
  }
  motet::fail(where_, ": '", path_, name, "' is ", value, "; ", wanted, " is wanted");
}

int64_t ConfigReader::size(const char* name) const {
  const auto& value = field(name);
  const bool whole = value.is_number_unsigned()
                         ? value.get<uint64_t>() <= std::numeric_limits<int64_t>::max()
                         : value.is_number_integer();
  if (!whole || value.get<int64_t>() < 1) {
    fail(name, "a whole number of at least 1");
  }
  return value.get<int64_t>();
}

int64_t ConfigReader::size(const char* name, int64_t otherwise) const {
  return absent(name) ? otherwise : size(name);
}

int64_t ConfigReader::size(const char* name, int64_t otherwise, int64_t if_null) const {
  return is_null(name) ? if_null : size(name, otherwise);
}

double ConfigReader::number(const char* name) const {
  const auto& value = field(name);
  if (!value.is_number() || !std::isfinite(value.get<double>())) {
    fail(name, "a number");
  }
  return value.get<double>();
}

double ConfigReader::number(const char* name, double otherwise) const {
  return absent(name) ? otherwise : number(name);
}

int64_t ConfigReader::count(const char* name, int64_t otherwise) const {
  if (has(name) && field(name) == 0) {
    return 0;
  }
  return size(name, otherwise);
}

double ConfigReader::positive(const char* name) const {
  const auto value = number(name);
  if (!(value > 0)) {
    fail(name, "a number above 0");
  }
  return value;
}

double ConfigReader::positive(const char* name, double otherwise) const {
  return absent(name) ? otherwise : positive(name);
}

std::optional<double> ConfigReader::number_or_null(const char* name,
                                                   std::optional<double> otherwise) const {
  if (absent(name)) {
    return otherwise;
  }
  return is_null(name) ? std::nullopt : std::optional(number(name));
}

bool ConfigReader::flag(const char* name, bool otherwise) const {
  if (absent(name)) {
    return otherwise;
  }
  if (!field(name).is_boolean()) {
    fail(name, "true or false");
  }
  return field(name).get<bool>();
}

std::string ConfigReader::text(const char* name, const std::string& otherwise) const {
  if (absent(name)) {
    return otherwise;
  }
  if (!field(name).is_string()) {
    fail(name, "a string");
  }
  return field(name).get<std::string>();
}

std::vector<std::string> ConfigReader::texts(const char* name) const {
  const auto& value = field(name);
  if (value.is_null()) {
    return {};
  }
  if (!value.is_array() ||
      !std::all_of(value.begin(), value.end(), [](const json& one) { return one.is_string(); })) {
    fail(name, "a list of strings");
  }
  return value.get<std::vector<std::string>>();
}

std::vector<double> ConfigReader::numbers(const char* name) const {
  const auto& value = field(name);
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), [](const json& one) {
        return one.is_number() && std::isfinite(one.get<double>());
      })) {
    fail(name, "a list of numbers");
  }
  return value.get<std::vector<double>>();
}

ConfigReader ConfigReader::object(const char* name) const {
  static const json kEmpty = json::object();
  const auto& value = field(name);
  if (!value.is_null() && !value.is_object()) {
    fail(name, "an object");
  }
  return {value.is_null() ? kEmpty : value, where_, path_ + name + "."};
}

Config load_config(const std::filesystem::path& directory) {
  const bool is_config =
      directory.extension() == ".json" && std::filesystem::is_regular_file(directory) &&
      import_hint(directory).empty();  // a configuration by itself, to train from scratch
  require(is_config || std::filesystem::is_directory(directory), directory.string(),
          ": is not a directory; a model is a directory in Hugging Face format (config.json, "
          "model.safetensors, tokenizer.json or vocab.json + merges.txt)",
          import_hint(directory));
  const auto path = is_config ? directory : directory / "config.json";
  require(std::filesystem::exists(path), directory.string(),
          ": has no config.json; a model is a directory in Hugging Face format",
          import_hint(directory));
  const auto text = read_file(path);
  refuse_lfs_pointer(path, text);
  const auto source = parse_json(text, path.string());
  require(source.is_object(), path.string(), ": is not a JSON object");
  const ConfigReader read(source, path.string());
  const auto model_type = read.text("model_type", "");
  require(!model_type.empty(), path.string(), ": has no 'model_type'");
  const auto* family = find_family(model_type);
  require(family != nullptr, path.string(), ": the model family '", model_type,
          "' is not known here; known: ", family_names());
  // null counts as false, as in Hugging Face.
  const bool null = read.is_null("is_causal");
  require(!null && read.flag("is_causal", true), path.string(), ": 'is_causal' is ",
          null ? "null" : "false", "; a decoder sees no later tokens");
  auto config = family->configure(source, path.string());
  config.model_type = model_type;
  config.source = source;
  require(config.heads % config.kv_heads == 0, path.string(), ": ", config.heads,
          " query heads do not divide into ", config.kv_heads, " heads of keys");
  for (const auto& rope : {config.rope, config.window_rope}) {
    require(!rope || rope->rotated(config.features) % 2 == 0, path.string(), ": ",
            rope ? rope->rotated(config.features) : 0, " of ", config.features,
            " features of a head cannot be rotated in pairs");
  }
  return config;
}

}  // namespace motet
