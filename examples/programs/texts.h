#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "motet/eval/run.h"
#include "motet/text/tokenizer.h"
#include "program.h"

/// The texts that a run is made from, and its segments.
namespace program {

struct TextOptions {
  std::vector<std::filesystem::path> paths;
  std::string field = "text";
};

/// Adds --text and --field.
void add_text_options(CLI::App& app, TextOptions& options);

/// Texts in tokens. Segments of one length are cut from each text for itself: none crosses from
/// text to text.
class Text {
 public:
  /// `names` are what messages call the texts, all together.
  Text(std::string names, motet::Source source, std::vector<std::vector<int64_t>> documents)
      : names_(std::move(names)), source_(std::move(source)), documents_(std::move(documents)) {}

  const motet::Source& source() const { return source_; }
  int64_t tokens() const;                  ///< of all texts
  int64_t segments(int64_t length) const;  ///< that there are
  std::vector<int64_t> segment(int64_t index, int64_t length) const;
  /// Throws Error, with the numbers and what would do, where there are too few segments. `least` is
  /// the shortest length that makes sense.
  void check_segments(int64_t skip, int64_t segments, int64_t length, int64_t least) const;

 private:
  std::string names_;
  motet::Source source_;
  std::vector<std::vector<int64_t>> documents_;
};

/// Reads and encodes what --text names. Throws Error that names the text.
Text read_text(const Options& options, const TextOptions& text, const motet::Tokenizer& tokenizer);

}  // namespace program
