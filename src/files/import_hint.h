#pragma once

#include <filesystem>
#include <string>

namespace motet {

/// How to make a model directory of what lies at `path` in another format, behind "; ", for the end
/// of an error; empty where nothing there is known. `path` is a directory, or a file.
std::string import_hint(const std::filesystem::path& path);

}  // namespace motet
