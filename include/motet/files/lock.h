#pragma once

#include <filesystem>

namespace motet {

/// A directory that one process at a time writes to. Nothing is left in it, and a process that ends
/// in any way gives it back.
class DirectoryLock {
 public:
  /// Throws Error where another process has it: at once, without waiting. A file system that knows
  /// no locks is no error: `held` says so.
  explicit DirectoryLock(const std::filesystem::path& directory);
  ~DirectoryLock();
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;

  bool held() const { return held_; }  ///< false where the file system knows no locks

 private:
  int directory_;  // the descriptor
  bool held_ = false;
};

}  // namespace motet
