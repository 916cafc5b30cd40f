#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

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

/// A file that appears under its name only when whole: written beside it, flushed to disk, renamed
/// by `commit`. Without `commit` nothing is left. Every failure (a full disk, a missing folder) is
/// an Error.
class AtomicFile {
 public:
  /// Throws Error when no file can be made beside `path`.
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

/// Writes `bytes` to `path` whole or not at all. Throws Error.
void write_file(const std::filesystem::path& path, std::string_view bytes);

/// SHA-256 of bytes that come in parts.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(std::string_view bytes);  ///< appends
  std::string digest();                 ///< of all so far, 64 hexadecimal digits; once

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// SHA-256 as 64 hexadecimal digits.
std::string sha256(std::string_view bytes);

}  // namespace motet
