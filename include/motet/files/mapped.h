#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>

namespace motet {

/// A file mapped into memory: pages are read when touched, and a write to them stays private to
/// this process.
class MappedFile {
 public:
  /// Throws Error when `path` cannot be opened or mapped.
  static std::shared_ptr<MappedFile> open(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::byte* data() const { return data_; }   ///< the first byte
  std::size_t size() const { return size_; }  ///< bytes

 private:
  MappedFile(std::byte* data, std::size_t size) : data_(data), size_(size) {}
  std::byte* data_;
  std::size_t size_;
};

/// The bytes of a file. Throws Error when it cannot be read.
std::string read_file(const std::filesystem::path& path);

}  // namespace motet
