#include "motet/eval/extension.h"

#include <dlfcn.h>

#include <cstdint>
#include <set>

#include "eval/tasks/shipped.h"
#include "model/families.h"
#include "motet/error.h"
#include "reading/shipped.h"

namespace motet {

void load_extension(const std::filesystem::path& path) {
  static std::set<void*> loaded;
  const auto registered = [] {
    return readings_registered() + families_registered() + tasks_registered();
  };
  const auto before = registered();
  // A path without a folder would be looked for where the system keeps its libraries.
  void* library = ::dlopen(std::filesystem::absolute(path).c_str(), RTLD_NOW);
  require(library != nullptr, path.string(), ": cannot be loaded: ", ::dlerror());
  require(!loaded.insert(library).second || registered() > before, path.string(),
          ": registers no reading, family or task here; it has to call motet::register_reading, "
          "motet::register_family or motet::register_task while it loads, and to link the same "
          "shared libmotet");
}

}  // namespace motet
