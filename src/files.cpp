#include "motet/files.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "motet/error.h"

namespace motet {

std::shared_ptr<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  require(descriptor >= 0, path.string(), ": cannot be opened: ", std::strerror(errno));
  struct stat status {};
  const bool known = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  const auto size = known ? static_cast<std::size_t>(status.st_size) : 0;
  void* data = nullptr;
  if (size > 0) {  // mmap refuses a length of 0
    data =
        ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
  }
  const int error = errno;
  ::close(descriptor);
  require(known, path.string(), ": is not a regular file");
  require(data != MAP_FAILED, path.string(),
          ": cannot be mapped into memory: ", std::strerror(error));
  return std::shared_ptr<MappedFile>(new MappedFile(static_cast<std::byte*>(data), size));
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) {
    ::munmap(data_, size_);
  }
}

std::string read_file(const std::filesystem::path& path) {
  const auto file = MappedFile::open(path);
  return {reinterpret_cast<const char*>(file->data()), file->size()};
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  temporary_ = path_;
  temporary_ += ".partial-" + std::to_string(::getpid());
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

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  require(EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr) == 1,
          "motet::Sha256: OpenSSL has no SHA-256");
}

Sha256::~Sha256() = default;

void Sha256::update(std::string_view bytes) {
  EVP_DigestUpdate(state_->context, bytes.data(), bytes.size());
}

std::string Sha256::digest() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes{};
  unsigned int size = 0;
  EVP_DigestFinal_ex(state_->context, bytes.data(), &size);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) {
    constexpr const char* kDigits = "0123456789abcdef";
    hex += {kDigits[bytes[i] >> 4], kDigits[bytes[i] & 15]};
  }
  return hex;
}

std::string sha256(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.digest();
}

}  // namespace motet
