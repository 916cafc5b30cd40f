#include "motet/model/weights.h"

#include <ATen/ATen.h>
#include <fnmatch.h>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/files/safetensors.h"
#include "motet/files/sha256.h"
#include "motet/model/family.h"

namespace motet {
namespace {

std::string with_layer(const std::string& pattern, int64_t layer) {
  const auto at = pattern.find("{}");
  return at == std::string::npos
             ? pattern
             : pattern.substr(0, at) + std::to_string(layer) + pattern.substr(at + 2);
}

/// Every parameter's tensor name, by parameter name.
std::map<std::string, TensorName> names_by_parameter(const Family& family, const Config& config) {
  std::map<std::string, TensorName> names;
  for (const auto& pattern : family.names(config)) {
    const bool layered = pattern.parameter.find("{}") != std::string::npos;
    for (int64_t layer = 0; layer < (layered ? config.layers : 1); ++layer) {
      const auto parameter = with_layer(pattern.parameter, layer);
      names[parameter] = {parameter, with_layer(pattern.tensor, layer), pattern.transposed};
    }
  }
  return names;
}

/// The name under which the file has `name`: with or without the family's prefix.
std::optional<std::string> stored_name(const SafeTensors& file, const Family& family,
                                       const std::string& name) {
  if (file.contains(name)) {
    return name;
  }
  if (const auto alias = family.aliases.find(name);
      alias != family.aliases.end() && file.contains(alias->second)) {
    return alias->second;
  }
  if (!family.prefix.empty() && name.starts_with(family.prefix)) {
    const auto bare = name.substr(family.prefix.size());
    if (file.contains(bare)) {
      return bare;
    }
  }
  return {};
}

bool is_ignored(const Family& family, const std::string& name) {
  return std::any_of(family.ignored.begin(), family.ignored.end(),
                     [&](const std::string& ending) { return name.ends_with(ending); });
}

/// The method that quantised the weights: by config.json, or by what the tensors are called; empty
/// where they are not quantised.
std::string quantised_by(const Config& config, const SafeTensors& file) {
  const auto declared = config.source.find("quantization_config");
  if (declared != config.source.end() && !declared->is_null()) {
    const auto method = declared->is_object() ? declared->find("quant_method") : declared->end();
    const bool named = declared->is_object() && method != declared->end() && method->is_string();
    return named ? method->get<std::string>() : "quantization_config";
  }
  const std::pair<const char*, const char*> kEndings[]{
      {".qweight", "GPTQ or AWQ"}, {".weight.absmax", "bitsandbytes"}, {".SCB", "bitsandbytes"},
      {".weight_scale", "fp8"},    {".weight_scale_inv", "fp8"},       {".weight_packed", "packed"},
  };
  for (const auto& name : file.names()) {
    for (const auto& [ending, method] : kEndings) {
      if (name.ends_with(ending)) {
        return method;
      }
    }
  }
  return "";
}

/// What may help where `name` is missing.
std::string hint_about(const SafeTensors& file, const Family& family, const std::string& name) {
  const auto bare = name.starts_with(family.prefix) ? name.substr(family.prefix.size()) : name;
  for (const auto& stored : file.names()) {
    for (const auto& wanted : {name, bare}) {
      if (stored.ends_with("." + wanted)) {
        const auto wrapper = stored.substr(0, stored.size() - wanted.size());
        return "; there is '" + stored + "': a wrapper put '" + wrapper +
               "' before the names. examples/python/import_model.py DIR OUT --strip-prefix " +
               wrapper + " makes a model without it";
      }
    }
  }
  return "";
}

/// Throws Error where a tensor of the file is left over, and where a pattern ignores none.
void check_left_over(const SafeTensors& file, const std::set<std::string>& used,
                     const Family& family, const Config& config, const std::string& where,
                     const std::vector<std::string>& patterns) {
  const auto matches = [](const std::string& pattern, const std::string& name) {
    return ::fnmatch(pattern.c_str(), name.c_str(), 0) == 0;
  };
  std::set<std::string> idle(patterns.begin(), patterns.end());
  for (const auto& name : file.names()) {
    if (used.contains(name) || is_ignored(family, name)) {
      continue;
    }
    bool ignored = false;
    for (const auto& pattern : patterns) {
      if (matches(pattern, name)) {
        ignored = true;
        idle.erase(pattern);
      }
    }
    require(ignored, where, ": the tensor '", name, "' is left over: the family ",
            config.model_type, " with this config.json has no such parameter; ",
            Field("ignore_tensors"), " '", name, "' leaves it out, where that is meant");
  }
  require(idle.empty(), where, ": ", Field("ignore_tensors"), " '",
          idle.empty() ? "" : *idle.begin(), "' matches no tensor that is left over");
}

/// Throws Error where the configuration wants far more than the file can hold, before anything of
/// that size is made.
void check_size(const Config& config, const SafeTensors& file, const std::string& where) {
  const auto stored = static_cast<int64_t>(file.names().size());
  require(config.layers <= stored, where, ": config.json gives the model ", config.layers,
          " layers, but its weights are ", stored, " tensors");
  double bytes = 0;
  for (const auto& path : file.files()) {
    bytes += static_cast<double>(std::filesystem::file_size(path));
  }
  const auto matrix = [&](const char* what, int64_t rows) {
    const auto wanted = static_cast<double>(rows) * static_cast<double>(config.width);
    require(wanted <= bytes, where, ": config.json gives the model a width of ", config.width,
            " and ", what, " of ", rows, ", a matrix of ", wanted,
            " numbers, but its weights have ", bytes, " bytes in all");
  };
  matrix("a vocabulary", config.vocabulary);
  matrix("an inner width", config.inner);
  matrix("heads", config.heads * config.features);
}

const Family& family_of(const Config& config) {
  const auto* family = find_family(config.model_type);
  TORCH_INTERNAL_ASSERT(family != nullptr);  // a Decoder of it exists
  return *family;
}

}  // namespace

std::shared_ptr<Decoder> load_model(const std::filesystem::path& directory,
                                    const LoadOptions& options) {
  const auto config = load_config(directory);
  const auto file = SafeTensors::open_model(directory);
  const auto where = directory.string();
  const auto quantised = quantised_by(config, file);
  require(quantised.empty(), where, ": the weights are quantised (", quantised,
          "): dequantise them first, with the library that quantised them");
  const auto& family = family_of(config);
  check_size(config, file, where);
  const auto names = names_by_parameter(family, config);
  const auto stored_as = [&](const std::string& parameter) {
    return stored_name(file, family, names.at(parameter).tensor);
  };
  auto model = std::make_shared<Decoder>(config);
  std::set<std::string> used;
  std::map<std::string, torch::Tensor> tensors;  // by parameter
  std::optional<torch::ScalarType> holds_all;
  const at::NoGradGuard no_grad;
  for (const auto& item : model->named_parameters()) {
    const auto& name = names.at(item.key());
    auto stored = stored_as(item.key());
    if (!stored && config.tied && item.key() == "tokens.weight") {
      stored = stored_as("head.weight");  // some savers keep this one of the two
    }
    require(stored.has_value(), where, ": the tensor '", name.tensor, "' is missing",
            hint_about(file, family, name.tensor));
    require(file.readable(*stored), where, ": the tensor '", *stored, "' is of ",
            file.dtype(*stored), "; F64, F32, F16 and BF16 can be loaded");
    auto tensor = file.tensor(*stored);
    if (name.transposed && tensor.dim() == 2) {
      tensor = tensor.t();
    }
    require(tensor.sizes() == item.value().sizes(), where, ": the tensor '", *stored, "' is ",
            name.transposed ? tensor.t().sizes() : tensor.sizes(), ", but config.json makes it ",
            name.transposed ? item.value().t().sizes() : item.value().sizes());
    const auto type = tensor.scalar_type();
    require(type == torch::kFloat64 || type == torch::kFloat32 || type == torch::kFloat16 ||
                type == torch::kBFloat16,
            where, ": the tensor '", *stored, "' is of ", file.dtype(*stored),
            "; F64, F32, F16 and BF16 can be loaded");
    holds_all = c10::promoteTypes(holds_all.value_or(type), type);
    tensors.emplace(item.key(), tensor);
    used.insert(*stored);
  }
  for (auto& item : model->named_parameters()) {
    const auto dtype = options.dtype ? *options.dtype : holds_all.value();
    item.value().set_data(tensors.at(item.key()).to(options.device, dtype));
  }
  if (config.tied) {  // some savers write the tied embedding twice
    const auto head = stored_as("head.weight"), tokens = stored_as("tokens.weight");
    require(!head || !tokens || torch::equal(file.tensor(*head), file.tensor(*tokens)), where,
            ": '", head.value_or(""), "' differs from '", tokens.value_or(""),
            "', but config.json ties them (tie_word_embeddings)");
    if (head) {
      used.insert(*head);
    }
  }
  check_left_over(file, used, family, config, where, options.ignore_tensors);
  return model;
}

void save_model(const Decoder& model, const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  require(std::filesystem::is_directory(directory), directory.string(),
          ": cannot be made: ", error.message());
  const auto& config = model.config();
  const auto& family = family_of(config);
  const auto names = names_by_parameter(family, config);
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& item : model.named_parameters()) {
    const auto& name = names.at(item.key());
    tensors[name.tensor] = name.transposed ? item.value().t() : item.value();
  }
  auto source = config.source;
  const auto type = model.dtype() == torch::kFloat16    ? "float16"
                    : model.dtype() == torch::kBFloat16 ? "bfloat16"
                    : model.dtype() == torch::kFloat64  ? "float64"
                                                        : "float32";
  for (const auto* field : {"dtype", "torch_dtype"}) {
    if (source.contains(field) || std::string(field) == "torch_dtype") {
      source[field] = type;
    }
  }
  write_file(directory / "config.json", source.dump(2) + "\n");
  save_safetensors(directory / "model.safetensors", tensors);  // last: where it is, all is
}

std::string model_hash(const std::filesystem::path& directory) {
  auto files = SafeTensors::open_model(directory).files();
  files.push_back(directory / "config.json");
  std::sort(files.begin(), files.end());
  Sha256 hash;
  for (const auto& path : files) {
    const auto file = MappedFile::open(path);
    hash.update({reinterpret_cast<const char*>(file->data()), file->size()});
  }
  return hash.digest();
}

}  // namespace motet
