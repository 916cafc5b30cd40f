#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

namespace motet {

/// Throws Error, with the bytes that are missing, where the disk of `directory` has fewer than
/// `bytes` free.
void require_space(const std::filesystem::path& directory, uint64_t bytes);

/// The checkpoints of a run: directories `checkpoint-STEP`, each there as a whole or not at all, so
/// that a run that is killed at any moment leaves a usable one.
class Checkpoints {
 public:
  /// `directory` is made where it is missing. Older checkpoints than the last `keep` go when
  /// another is saved. Throws Error.
  explicit Checkpoints(std::filesystem::path directory, int64_t keep = 2);

  /// Makes checkpoint-`step` of what `write` puts into an empty directory, about `bytes`. Throws
  /// Error, with the bytes that are missing where the disk is too full, and then leaves what was
  /// there as it was.
  void save(int64_t step, uint64_t bytes,
            const std::function<void(const std::filesystem::path&)>& write) const;
  std::optional<int64_t> last() const;             ///< the latest step of which there is one
  std::filesystem::path path(int64_t step) const;  ///< of a step's checkpoint
  void remove_all() const;                         ///< all of them
  void clean() const;                              ///< removes what a killed run left half written

 private:
  std::vector<int64_t> steps() const;  // rising
  void remove(int64_t step) const;

  std::filesystem::path directory_;
  int64_t keep_;
};

/// A file of JSON lines, one a step, to which a run adds as it goes.
class StepLog {
 public:
  /// Keeps the lines of a file that is there up to that of `step`, and drops those behind, which a
  /// resumed run writes again. Throws Error.
  StepLog(std::filesystem::path path, int64_t step);
  ~StepLog();
  StepLog(const StepLog&) = delete;
  StepLog& operator=(const StepLog&) = delete;

  /// Adds a line, whole or not at all; it has a number "step". Throws Error.
  void add(const nlohmann::ordered_json& line);
  /// Sees to it that the lines so far survive a power failure. Throws Error.
  void flush() const;
  /// All that the file has.
  const std::vector<nlohmann::ordered_json>& lines() const { return lines_; }

 private:
  std::filesystem::path path_;
  int file_ = -1;
  std::vector<nlohmann::ordered_json> lines_;
};

}  // namespace motet
