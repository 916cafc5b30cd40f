#include "files/lfs_pointer.h"

#include "motet/error.h"

namespace motet {

void refuse_lfs_pointer(const std::filesystem::path& path, std::string_view contents) {
  require(!contents.starts_with("version https://git-lfs.github.com/spec/"), path.string(),
          ": is a Git LFS pointer, not the file itself; `git lfs pull` in its repository fetches "
          "it");
}

}  // namespace motet
