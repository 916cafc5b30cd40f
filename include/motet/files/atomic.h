#pragma once

#include <filesystem>
#include <span>
#include <string_view>

namespace motet {

/// A file that appears under its name only when whole: written beside it, flushed to disk, renamed
/// by `commit`. Without `commit` nothing is left. Every failure (a full disk, a missing folder) is
/// an Error.
class AtomicFile {
 public:
  /// Throws Error when no file can be made beside `path`, and when that is a folder or a device.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  /// Appends. Throws Error.
  void write(std::string_view bytes);
  /// Gives the file its name, in place of one that is there. Throws Error.
  void commit();

 private:
  std::filesystem::path path_;
  std::filesystem::path temporary_;
  int file_;  // the descriptor; below 0 once committed
};

/// Removes what killed processes left half-written of files of these names in a directory, such as
/// `run.json.partial-PROCESS`. Only for one where nobody writes meanwhile (see DirectoryLock).
/// Throws Error for what cannot be removed.
void remove_partial_files(const std::filesystem::path& directory,
                          std::span<const char* const> names);

/// Writes `bytes` to `path` whole or not at all. Throws Error.
void write_file(const std::filesystem::path& path, std::string_view bytes);

}  // namespace motet
