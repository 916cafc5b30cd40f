#include "files/import_hint.h"

#include <set>
#include <system_error>

namespace motet {
namespace {

/// Whether examples/python/import_model.py reads a file of this name.
bool is_importable(const std::filesystem::path& file) {
  const auto name = file.filename().string();
  return name == "pytorch_model.bin" || name == "pytorch_model.bin.index.json" ||
         name == "adapter_config.json" || name == "ckpt.pt" || file.extension() == ".gguf";
}

}  // namespace

std::string import_hint(const std::filesystem::path& path) {
  std::set<std::string> found;  // in order of names, so that the error is the same everywhere
  std::error_code ignored;      // what cannot be looked at is not there
  if (std::filesystem::is_directory(path, ignored)) {
    for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
      if (is_importable(entry.path())) {
        found.insert(entry.path().filename().string());
      }
    }
  } else if (std::filesystem::exists(path, ignored) && is_importable(path)) {
    return "; make one of it: examples/python/import_model.py " + path.string() + " OUT";
  }
  if (found.empty()) {
    return "";
  }
  return "; it has " + *found.begin() + ": make a model of it: examples/python/import_model.py " +
         path.string() + " OUT";
}

}  // namespace motet
