#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "motet/eval/segments.h"
#include "motet/model/config.h"
#include "motet/text/tokenizer.h"
#include "program.h"

/// The texts that a run is made from, and how they are cut.
namespace program {

struct TextOptions {
  std::vector<std::filesystem::path> paths;
  std::string field = "text";
};

/// Adds --text and --field.
void add_text_options(CLI::App& app, TextOptions& options);

/// How segments are cut from the texts.
struct SegmentOptions {
  std::optional<int64_t> length, scored;
  int64_t segments = 4, skip = 0;

  /// Takes them over into a task's options.
  template <class Task>
  void fill(Task& task, const motet::Config& config) const {
    task.length = length.value_or(std::min<int64_t>(4096, config.positions));
    task.scored = scored.value_or(std::max<int64_t>(1, task.length / 4));
    task.segments = segments;
    task.skip = skip;
  }
};

/// Adds --length, --scored, --segments and --skip.
void add_segment_options(CLI::App& app, SegmentOptions& options);

/// "a segment", "4 segments".
std::string segments_text(int64_t segments);

/// Reads and encodes what --text names. Throws Error that names the text.
motet::Segments read_text(const Options& options, const TextOptions& text,
                          const motet::Tokenizer& tokenizer);

}  // namespace program
