#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "motet/reading/reading.h"

namespace motet {

/// The options behind the name of a reading, as command lines have them: those of `temper:0.9:0.8`
/// are `0.9` and `0.8`. Every error names the whole text and the readings that there are.
class ReadingText {
 public:
  /// `text` with its name.
  explicit ReadingText(std::string_view text);

  const std::string& name() const { return name_; }  ///< before the first colon
  /// How many options there are.
  int64_t count() const { return static_cast<int64_t>(options_.size()); }
  /// Throws Error where there are more options.
  void at_most(int64_t options) const;
  /// An option, counted from 0, or `otherwise` where it is left out. Throws Error for what is no
  /// number.
  double number(int64_t option, double otherwise) const;
  /// The same for a whole number.
  int64_t number(int64_t option, int64_t otherwise) const;
  /// An option as it was written, or `otherwise` where it is left out.
  std::string word(int64_t option, const std::string& otherwise = {}) const;
  /// This option and all behind it as they were written, colons included, such as a path; empty
  /// where they are left out.
  std::string rest(int64_t option) const;
  /// The parts of an option; none where it is left out.
  std::vector<std::string> words(int64_t option, char delimiter) const;
  /// Throws Error: the text, why it cannot be, and the readings that there are.
  [[noreturn]] void fail(const std::string& why) const;

 private:
  std::string text_, name_;
  std::vector<std::string> options_;
};

/// A kind of reading, to be had by name: `--readings` of every program takes it, and `--help` names
/// it.
struct ReadingKind {
  std::string name;   ///< before the first colon: `temper`
  std::string usage;  ///< with its options: `temper[:T[:S]]`
  /// Makes one. Throws Error for options that cannot be; see ReadingText.
  std::function<std::shared_ptr<Reading>(const ReadingText&)> make;
  std::string mode = {};              ///< what a table calls it without a prefix; empty: its name
  std::string mode_with_prefix = {};  ///< the same with a prefix
};

/// Makes a kind of reading known under its name; one that is there is replaced. Not to be called
/// while readings are looked up. Returns true, so that a namespace may register with a constant.
/// Throws Error for a name that is empty or has a colon.
bool register_reading(ReadingKind kind);

/// All kinds, those that come with the library first, others in the order in which they came.
const std::vector<ReadingKind>& reading_kinds();

/// The usages of all kinds, for messages: "all, select[:K] and temper[:T]".
std::string reading_usages();

/// The kind of this name, or null.
const ReadingKind* find_reading(std::string_view name);

/// A reading by its name and options: `select:2:heads+rows`. What is left out has its default.
/// Throws Error for anything else, with the usages of all readings.
std::shared_ptr<Reading> reading_named(std::string_view text);

}  // namespace motet
