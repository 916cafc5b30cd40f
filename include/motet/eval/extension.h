#pragma once

#include <filesystem>

namespace motet {

/// Loads a shared library that registers readings, model families or tasks of one's own while it
/// loads, as a namespace does with `const bool registered = motet::register_reading({...})`. It
/// must link the same shared libmotet as this process: a library with an archive of motet inside
/// has registries of its own. Loaded libraries stay; one that is loaded already is left as it is.
/// Throws Error where it cannot be loaded, and where it registers nothing here.
void load_extension(const std::filesystem::path& path);

}  // namespace motet
