#include "run_files.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "motet/attention/kernel.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/model/products.h"
#include "motet/model/weights.h"
#include "motet/version.h"

namespace program {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;

/// What programs write into --out itself, run.json last.
constexpr std::array kFiles{"stats.safetensors", "static.json", "index.html", "run.json"};

json read_run(const fs::path& path) {
  auto run = json::parse(motet::read_file(path), nullptr, /*allow_exceptions=*/false);
  motet::require(run.is_object() && run.contains("schema"), path.string(),
                 ": is not a run of motet");
  return run;
}

void remove_one(const fs::path& path) {
  std::error_code error;
  fs::remove(path, error);
  motet::require(!error, path.string(), ": cannot be removed: ", error.message());
}

/// Removes the run in `directory`, if there is one: what programs write beside run.json, and that
/// last, so that this can be done again after an interruption.
void remove_run(const fs::path& directory) {
  if (!fs::exists(directory / "run.json")) {
    return;
  }
  const std::pair<const char*, std::vector<std::string>> folders[]{{"pictures", {".svg", ".png"}},
                                                                   {"stats", {".safetensors"}}};
  for (const auto& [name, extensions] : folders) {
    const auto folder = directory / name;
    if (!fs::is_directory(folder)) {
      continue;
    }
    for (const auto& entry : fs::directory_iterator(folder)) {
      const auto ours = std::count(extensions.begin(), extensions.end(), entry.path().extension());
      if (entry.is_regular_file() && ours > 0) {
        remove_one(entry.path());
      }
    }
    if (fs::is_empty(folder)) {
      remove_one(folder);
    }
  }
  for (const auto* name : kFiles) {
    remove_one(directory / name);
  }
}

}  // namespace

std::string own_name(const motet::Config& config) {
  const auto found = config.source.find("_name_or_path");
  return found != config.source.end() && found->is_string() ? found->get<std::string>() : "";
}

motet::Source model_source(const Options& options, const motet::Config& config) {
  const auto name = own_name(config);
  const auto directory = fs::weakly_canonical(options.model).filename().string();
  return {name.empty() ? directory : name, motet::model_hash(options.model)};
}

std::string kernel_of(const Options& options) {
  return std::string(options.device == "cpu" ? motet::kernel_name() : "portable");
}

std::string products_of(const Options& options) {
  return options.device == "cpu" ? motet::products_provenance() : "libtorch";
}

void note_other_model(const Options& options, const motet::Reading& reading,
                      const motet::Source& model) {
  const auto source = reading.source();
  if (source && !source->model_hash.empty() && source->model_hash != model.hash) {
    note(options, fmt::format("note: {} was fitted to another model than {}, or to other weights "
                              "of it",
                              reading.name(), model.name));
  }
}

std::vector<motet::Source> reading_files(const Options& options,
                                         const std::vector<motet::Mode>& modes,
                                         const motet::Source& model) {
  std::vector<motet::Source> files;
  for (const auto& mode : modes) {
    const auto source = mode.reading->source();
    const auto name = mode.reading->name();
    const auto same = [&](const motet::Source& file) { return file.name == name; };
    if (source && std::none_of(files.begin(), files.end(), same)) {
      note_other_model(options, *mode.reading, model);
      files.push_back({name, source->hash});
    }
  }
  return files;
}

motet::Provenance provenance_here(const Options& options) {
  motet::Provenance provenance;
  provenance.command = options.command;
  provenance.version = motet::version();
  provenance.revision = motet::revision();
  provenance.seed = options.seed;
  provenance.dtype = options.dtype;
  provenance.device = options.device;
  provenance.kernel = kernel_of(options);
  provenance.products = products_of(options);
  provenance.threads = at::get_num_threads();
  return provenance;
}

void check_writable(const ordered_json& document) {
  try {
    document.dump();
  } catch (const json::type_error&) {
    motet::fail(
        "an argument, or the name of the model or of a text, is not UTF-8, which results "
        "cannot hold; rename the file");
  }
}

bool goes_on(const Options& options, const ordered_json& wanted,
             const std::vector<std::string>& also) {
  check_writable(wanted);
  motet::remove_partial_files(options.out, kFiles);
  if (options.overwrite) {
    remove_run(options.out);
  }
  const auto path = options.out / "run.json";
  if (!fs::exists(path)) {
    return false;
  }
  motet::require(options.resume, options.out.string(),
                 ": holds a run already; --resume goes on with it, --overwrite replaces it");
  const auto found = read_run(path);
  std::vector<std::string> fields{"schema", "program", "model",  "data",    "configuration",
                                  "dtype",  "seed",    "device", "products"};
  fields.insert(fields.end(), also.begin(), also.end());
  for (const auto& field : fields) {
    const auto there = found.value(field, json());
    const json here = wanted.at(field);  // fields of an object in any order
    if (here == there) {
      continue;
    }
    // Of an object, the first field that differs says it.
    auto name = field;
    auto has = there, wants = here;
    for (const auto& [part, value] : here.items()) {
      if (here.is_object() && there.is_object() && there.value(part, json()) != value) {
        name += ", " + part;
        has = there.value(part, json());
        wants = value;
        break;
      }
    }
    motet::fail(path.string(), ": is a run with another ", name, ": it has ", has.dump(),
                ", this command has ", wants.dump(),
                field == "products" ? "; MOTET_PRODUCTS says which, or choose another --out"
                                    : "; choose another --out");
  }
  return true;
}

void tell_changes(const Options& options, const ordered_json& wanted) {
  if (options.config.empty()) {
    return;
  }
  const auto earlier = read_run(options.config);
  for (const auto& [field, what] : {std::pair{"model", "model"}, {"data", "text"}}) {
    const auto& then = earlier.at(field);
    const auto& now = wanted.at(field);
    if (then.at("hash") != now.at("hash")) {
      note(options, fmt::format("note: the {} is not that of {}: {} then, {} now", what,
                                options.config.string(), then.at("name").get<std::string>(),
                                now.at("name").get<std::string>()));
    }
  }
}

}  // namespace program
