#include "motet/model/hub.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "motet/error.h"
#include "motet/files/mapped.h"

namespace motet {
namespace {

namespace fs = std::filesystem;

std::optional<fs::path> from_environment(const char* variable) {
  const char* value = std::getenv(variable);
  return value != nullptr && *value != '\0' ? std::optional<fs::path>(value) : std::nullopt;
}

/// As huggingface_hub has it.
fs::path hub_cache() {
  if (const auto cache = from_environment("HF_HUB_CACHE")) {
    return *cache;
  }
  if (const auto home = from_environment("HF_HOME")) {
    return *home / "hub";
  }
  if (const auto cache = from_environment("XDG_CACHE_HOME")) {
    return *cache / "huggingface" / "hub";
  }
  return from_environment("HOME").value_or("/") / ".cache" / "huggingface" / "hub";
}

}  // namespace

namespace {

/// The snapshots that lie in a repository of the cache, for a message; empty where there is none.
std::string snapshots_of(const fs::path& repository) {
  std::error_code ignored;
  std::string found;
  for (const auto& entry : fs::directory_iterator(repository / "snapshots", ignored)) {
    found += (found.empty() ? "; or give the directory of a snapshot that is there: " : ", ") +
             entry.path().string();
  }
  return found;
}

}  // namespace

fs::path model_directory(const std::string& name) {
  if (fs::exists(name)) {
    require(fs::is_directory(name), name, ": is not a directory; a model is one, with config.json");
    return name;
  }
  const bool is_id = std::count(name.begin(), name.end(), '/') <= 1 && !name.empty() &&
                     name.front() != '/' && name.front() != '.' && name.back() != '/';
  require(is_id, name, ": there is no such directory");
  auto folder = "models--" + name;
  if (const auto slash = folder.find('/'); slash != std::string::npos) {
    folder.replace(slash, 1, "--");
  }
  const auto repository = hub_cache() / folder;
  require(fs::is_directory(repository), name,
          ": there is no such directory, and no model of this id in the local cache (",
          repository.string(), " is missing); `hf download ", name, "` brings it");
  const auto reference = repository / "refs" / "main";
  require(fs::exists(reference), name, ": ", reference.string(), " is missing; `hf download ", name,
          "` brings the model anew", snapshots_of(repository));
  auto commit = read_file(reference);
  commit.erase(std::find_if(commit.begin(), commit.end(),
                            [](char c) { return c == '\n' || c == '\r' || c == ' '; }),
               commit.end());
  const auto snapshot = repository / "snapshots" / commit;
  require(!commit.empty() && fs::is_directory(snapshot), name, ": ", snapshot.string(),
          " is missing; `hf download ", name, "` brings the model anew");
  return snapshot;
}

}  // namespace motet
