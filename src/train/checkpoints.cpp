#include "motet/train/checkpoints.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <utility>

#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"

namespace motet {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kName = "checkpoint-";
constexpr std::string_view kPartial = ".partial-checkpoint";  // being written
constexpr std::string_view kRemoved = ".removed-checkpoint";  // being removed

/// Makes the names in a directory survive a power failure.
void sync_directory(const fs::path& directory) {
  const int descriptor = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = descriptor >= 0 && ::fsync(descriptor) == 0;
  const int error = errno;
  if (descriptor >= 0) {
    ::close(descriptor);
  }
  require(synced, directory.string(), ": cannot be flushed to disk: ", std::strerror(error));
}

void rename_directory(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  require(!error, to.string(), ": cannot be written: ", error.message());
  sync_directory(to.parent_path());
}

}  // namespace

void require_space(const fs::path& directory, uint64_t bytes) {
  const uint64_t free = fs::space(directory).available;
  require(free >= bytes, directory.string(), ": the disk is too full: ", bytes,
          " bytes are wanted, ", free, " are free: ", bytes - free, " bytes are missing");
}

Checkpoints::Checkpoints(fs::path directory, int64_t keep)
    : directory_(std::move(directory)), keep_(keep) {
  require(keep_ >= 1, "motet::Checkpoints: ", keep_, " are to be kept; at least 1 is wanted");
  std::error_code error;
  fs::create_directories(directory_, error);
  require(fs::is_directory(directory_), directory_.string(), ": cannot be made: ", error.message());
}

void Checkpoints::clean() const {
  fs::remove_all(directory_ / kPartial);
  fs::remove_all(directory_ / kRemoved);
}

fs::path Checkpoints::path(int64_t step) const {
  return directory_ / (std::string(kName) + std::to_string(step));
}

std::vector<int64_t> Checkpoints::steps() const {
  std::vector<int64_t> steps;
  for (const auto& entry : fs::directory_iterator(directory_)) {
    const auto name = entry.path().filename().string();
    if (!name.starts_with(kName)) {
      continue;
    }
    int64_t step = 0;
    const auto* end = name.data() + name.size();
    const auto [rest, error] = std::from_chars(name.data() + kName.size(), end, step);
    if (error == std::errc() && rest == end) {
      steps.push_back(step);
    }
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::optional<int64_t> Checkpoints::last() const {
  const auto all = steps();
  return all.empty() ? std::nullopt : std::optional(all.back());
}

void Checkpoints::remove(int64_t step) const {
  rename_directory(path(step), directory_ / kRemoved);  // so that no half of it is ever resumed
  fs::remove_all(directory_ / kRemoved);
}

void Checkpoints::remove_all() const {
  clean();
  for (const auto step : steps()) {
    remove(step);
  }
}

void Checkpoints::save(int64_t step, uint64_t bytes,
                       const std::function<void(const fs::path&)>& write) const {
  const auto partial = directory_ / kPartial;
  require_space(directory_, bytes);
  try {
    clean();
    fs::create_directory(partial);
    write(partial);
    sync_directory(partial);
    if (fs::exists(path(step))) {
      remove(step);
    }
    rename_directory(partial, path(step));
  } catch (const std::exception& error) {
    std::error_code ignored;
    fs::remove_all(partial, ignored);
    require_space(directory_, bytes);  // somebody else may have filled the disk meanwhile
    fail(error.what(), "; checkpoint-", step, " takes ", bytes, " bytes");
  }
  const auto all = steps();
  for (std::size_t i = 0; i + keep_ < all.size(); ++i) {
    remove(all[i]);
  }
}

StepLog::StepLog(fs::path path, int64_t step) : path_(std::move(path)) {
  std::string kept;
  if (fs::exists(path_)) {
    const auto text = read_file(path_);
    for (std::size_t first = 0, end; (end = text.find('\n', first)) != text.npos; first = end + 1) {
      auto line = nlohmann::ordered_json::parse(text.substr(first, end - first), nullptr, false);
      require(line.is_object() && line.contains("step") && line["step"].is_number_integer(),
              path_.string(), ": '", text.substr(first, end - first), "' is not a line of a log");
      if (line["step"].get<int64_t>() > step) {
        break;
      }
      kept += text.substr(first, end + 1 - first);
      lines_.push_back(std::move(line));
    }
  }
  write_file(path_, kept);
  file_ = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  require(file_ >= 0, path_.string(), ": cannot be written: ", std::strerror(errno));
}

StepLog::~StepLog() { ::close(file_); }

void StepLog::add(const nlohmann::ordered_json& line) {
  const auto text = line.dump() + "\n";
  struct stat before {};
  require(::fstat(file_, &before) == 0, path_.string(), ": ", std::strerror(errno));
  const auto written = ::write(file_, text.data(), text.size());
  if (written != static_cast<ssize_t>(text.size())) {
    const int error = written < 0 ? errno : ENOSPC;
    const auto missing = static_cast<int64_t>(text.size()) - std::max<int64_t>(written, 0);
    require(::ftruncate(file_, before.st_size) == 0, path_.string(), ": ", std::strerror(errno));
    fail(path_.string(), ": cannot be written: ", std::strerror(error), "; ", missing,
         " bytes are missing");
  }
  lines_.push_back(line);
}

void StepLog::flush() const {
  require(::fsync(file_) == 0, path_.string(), ": cannot be written: ", std::strerror(errno));
}

}  // namespace motet
