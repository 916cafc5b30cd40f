#include "finetune_output.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <span>

#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/train/checkpoints.h"
#include "run_files.h"

namespace program {

using nlohmann::ordered_json;

namespace {

constexpr const char* kDocument = "training.json";
/// Files of a tokenizer, and of how to generate: copied beside the weights, so that they are a
/// model.
constexpr std::array kCopied{"tokenizer.json",      "tokenizer_config.json",   "vocab.json",
                             "merges.txt",          "special_tokens_map.json", "added_tokens.json",
                             "chat_template.jinja", "generation_config.json"};
/// What a run makes besides.
constexpr std::array kMade{"model.safetensors", "reading.safetensors", "config.json", "log.jsonl",
                           "valid.jsonl"};
constexpr const char* kBest = "best";  // a result, until the run ends

/// Whether `path` is `directory`, or lies in it.
bool lies_in(const fs::path& path, const fs::path& directory) {
  return *plain_path(path).lexically_relative(plain_path(directory)).begin() != "..";
}

/// The directory, and its best/ where there is one.
std::vector<fs::path> places(const fs::path& directory) {
  return fs::is_directory(directory / kBest) ? std::vector{directory, directory / kBest}
                                             : std::vector{directory};
}

/// Files that a run makes, as far as they are there.
std::vector<fs::path> files(const fs::path& directory) {
  std::vector<fs::path> found;
  for (const auto& place : places(directory)) {
    for (const auto& names :
         {std::span<const char* const>(kMade), std::span<const char* const>(kCopied)}) {
      for (const auto* name : names) {
        if (fs::exists(place / name)) {
          found.push_back(place / name);
        }
      }
    }
  }
  return found;
}

/// What a killed run was writing.
void remove_partial(const fs::path& directory) {
  for (const auto& place : places(directory)) {
    motet::remove_partial_files(place, kMade);
    motet::remove_partial_files(place, kCopied);
    motet::remove_partial_files(place, std::array{kDocument});
  }
}

/// Throws Error where `document` is a run with other settings than `run`.
void check_same(const FinetuneOptions& options, const fs::path& document, const ordered_json& run) {
  const auto earlier = ordered_json::parse(motet::read_file(document), nullptr, false);
  motet::require(earlier.is_object(), document.string(), ": is not a JSON object");
  const auto check = [&](const std::string& name, const ordered_json& found,
                         const ordered_json& wanted) {
    motet::require(found == wanted, document.string(), ": is a run with another ", name,
                   ": it has ", found.dump(), ", this command has ", wanted.dump(),
                   "; choose another --out");
  };
  for (const auto* field : {"model", "text", "valid"}) {  // whatever they are called now
    auto found = earlier.value(field, ordered_json()), wanted = run[field];
    if (found.is_object() && wanted.is_object()) {
      found["name"] = wanted["name"];
    }
    check(field, found, wanted);
  }
  for (const auto* field : {"dtype", "seed", "device", "products"}) {
    check(field, earlier.value(field, ordered_json()), run[field]);
  }
  const auto configuration = earlier.value("configuration", ordered_json::object());
  for (const auto& [name, value] : run["configuration"].items()) {
    check(name, configuration.value(name, ordered_json()), value);
  }
  for (const auto* field : {"version", "revision", "kernel", "threads"}) {
    const auto found = earlier.value(field, ordered_json());
    if (found != run[field]) {
      note(options, fmt::format("note: this run began with {} {} and goes on with {}: losses may "
                                "differ in their last digits",
                                field, found.dump(), run[field].dump()));
    }
  }
}

}  // namespace

fs::path plain_path(const fs::path& path) {
  const auto whole = fs::weakly_canonical(path);
  return whole.has_filename() ? whole : whole.parent_path();
}

std::vector<fs::path> tokenizer_files(const fs::path& directory) {
  std::vector<fs::path> paths;
  for (const auto* name : kCopied) {
    if (fs::exists(directory / name)) {
      paths.push_back(directory / name);
    }
  }
  return paths;
}

std::unique_ptr<motet::DirectoryLock> claim_training(const FinetuneOptions& options,
                                                     const ordered_json& run,
                                                     const fs::path& tokenizer) {
  check_writable(run);
  auto lock = claim_directory(options);
  const auto document = options.out / kDocument;
  const auto where = options.out.string();
  const motet::Checkpoints checkpoints(options.out);
  if (!fs::exists(document)) {
    motet::require(!checkpoints.last() && files(options.out).empty(), where,
                   ": holds a model, a reading or a run, but no training.json, so motet-finetune "
                   "did not begin it; choose another --out");
  } else if (options.resume) {
    check_same(options, document, run);
    remove_partial(options.out);
    return lock;
  } else {
    motet::require(options.overwrite, where,
                   ": holds a run already; --resume goes on with it, --overwrite replaces it");
    for (const auto& path : {model_path(options), tokenizer}) {
      motet::require(!lies_in(path, options.out), where, ": --overwrite would remove ",
                     path.string(), ", which this run begins with; choose another --out");
    }
    checkpoints.remove_all();
    for (const auto& path : files(options.out)) {
      fs::remove(path);
    }
    remove_partial(options.out);
    if (fs::is_directory(options.out / kBest) && fs::is_empty(options.out / kBest)) {
      fs::remove(options.out / kBest);
    }
  }
  motet::write_file(document, run.dump(2) + "\n");
  return lock;
}

}  // namespace program
