#include "motet/files/atomic.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "motet/error.h"

namespace motet {
namespace {

constexpr std::string_view kPartial = ".partial-";  // and the process

}  // namespace

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  std::error_code error;
  const auto status = std::filesystem::status(path_, error);
  require(!std::filesystem::exists(status) || std::filesystem::is_regular_file(status),
          path_.string(), ": cannot be written: it is there and not a file");
  temporary_ = path_;
  temporary_ += std::string(kPartial) + std::to_string(::getpid());
  file_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  require(file_ >= 0, path_.string(), ": cannot be written: ", std::strerror(errno));
}

AtomicFile::~AtomicFile() {
  if (file_ >= 0) {
    ::close(file_);
    ::unlink(temporary_.c_str());
  }
}

void AtomicFile::write(std::string_view bytes) {
  while (!bytes.empty()) {  // a disk that fills up takes some of them first
    const auto written = ::write(file_, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == ENOSPC || errno == EDQUOT) {
      fail(path_.string(), ": cannot be written: ", std::strerror(errno), ", at least ",
           bytes.size(), " bytes are missing; nothing was changed");
    } else if (errno != EINTR) {
      fail(path_.string(), ": cannot be written: ", std::strerror(errno), "; nothing was changed");
    }
  }
}

void AtomicFile::commit() {
  require(::fsync(file_) == 0, path_.string(), ": cannot be written: ", std::strerror(errno),
          "; nothing was changed");
  const bool closed = ::close(std::exchange(file_, -1)) == 0;
  if (!closed || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    fail(path_.string(), ": cannot be written: ", std::strerror(error), "; nothing was changed");
  }
}

void remove_partial_files(const std::filesystem::path& directory,
                          std::span<const char* const> names) {
  const auto is_partial = [&](const std::string& file) {
    return std::any_of(names.begin(), names.end(), [&](std::string_view name) {
      const auto process = name.size() + kPartial.size();
      return file.size() > process && file.starts_with(name) &&
             file.compare(name.size(), kPartial.size(), kPartial) == 0 &&
             file.find_first_not_of("0123456789", process) == std::string::npos;
    });
  };
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.is_regular_file() && is_partial(entry.path().filename().string())) {
      found.push_back(entry.path());
    }
  }
  for (const auto& path : found) {
    std::error_code error;
    std::filesystem::remove(path, error);
    require(!error, path.string(), ": cannot be removed: ", error.message());
  }
}

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace motet
