#include "motet/files/lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "motet/error.h"

namespace motet {

DirectoryLock::DirectoryLock(const std::filesystem::path& directory)
    : directory_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  require(directory_ >= 0, directory.string(), ": cannot be opened: ", std::strerror(errno));
  held_ = ::flock(directory_, LOCK_EX | LOCK_NB) == 0;
  if (!held_ && errno == EWOULDBLOCK) {
    ::close(directory_);
    fail(directory.string(),
         ": another process is at work in it; wait, stop that one first, or choose another "
         "directory");
  }
}

DirectoryLock::~DirectoryLock() { ::close(directory_); }

}  // namespace motet
