#include "motet/model/config.h"

#include "files/import_hint.h"
#include "motet/error.h"
#include "motet/files/mapped.h"
#include "motet/model/family.h"

namespace motet {

std::optional<int64_t> Config::window(int64_t layer) const {
  if (windows.empty() || windows.at(layer) == 0) {
    return {};
  }
  return windows[layer];
}

using nlohmann::json;

const json& ConfigReader::field(const char* name) const {
  static const json kNone;
  const auto found = json_.find(name);
  return found == json_.end() ? kNone : *found;
}

int64_t ConfigReader::size(const char* name) const {
  require(!field(name).is_null(), where_, ": has no '", name, "'");
  return size(name, 0);
}

int64_t ConfigReader::size(const char* name, int64_t otherwise) const {
  const auto& value = field(name);
  if (value.is_null()) {
    return otherwise;
  }
  require(value.is_number_integer() && value.get<int64_t>() >= 1, where_, ": '", name, "' is ",
          value.dump(), "; a whole number of at least 1 is wanted");
  return value.get<int64_t>();
}

double ConfigReader::number(const char* name, double otherwise) const {
  const auto& value = field(name);
  require(value.is_null() || value.is_number(), where_, ": '", name, "' is ", value.dump(),
          "; a number is wanted");
  return value.is_null() ? otherwise : value.get<double>();
}

bool ConfigReader::flag(const char* name, bool otherwise) const {
  const auto& value = field(name);
  require(value.is_null() || value.is_boolean(), where_, ": '", name, "' is ", value.dump(),
          "; true or false is wanted");
  return value.is_null() ? otherwise : value.get<bool>();
}

std::string ConfigReader::text(const char* name, const std::string& otherwise) const {
  const auto& value = field(name);
  require(value.is_null() || value.is_string(), where_, ": '", name, "' is ", value.dump(),
          "; a string is wanted");
  return value.is_null() ? otherwise : value.get<std::string>();
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
  const auto source = json::parse(read_file(path), nullptr, /*allow_exceptions=*/false);
  require(source.is_object(), path.string(), ": is not a JSON object");
  const auto model_type = ConfigReader(source, path.string()).text("model_type", "");
  require(!model_type.empty(), path.string(), ": has no 'model_type'");
  const auto* family = find_family(model_type);
  require(family != nullptr, path.string(), ": the model family '", model_type,
          "' is not known here; known: ", family_names());
  auto config = family->configure(source, path.string());
  config.model_type = model_type;
  config.source = source;
  require(config.heads % config.kv_heads == 0, path.string(), ": ", config.heads,
          " query heads do not divide into ", config.kv_heads, " heads of keys");
  require(config.features % 2 == 0 || config.learned_positions(), path.string(), ": heads of ",
          config.features, " features cannot be rotated in pairs");
  return config;
}

}  // namespace motet
