#include "texts.h"

#include <fmt/format.h>

#include <utility>

#include "motet/files/sha256.h"
#include "motet/text/documents.h"

namespace program {

void add_text_options(CLI::App& app, TextOptions& options) {
  app.add_option("--text", options.paths,
                 "UTF-8 files, folders of .txt and .jsonl files, or - for standard input; a\n"
                 ".jsonl file has a text in each line. No segment crosses from text to text")
      ->required();
  app.add_option("--field", options.field, "that holds the text of a .jsonl file's objects")
      ->capture_default_str();
}

void add_segment_options(CLI::App& app, SegmentOptions& options) {
  app.add_option(
      "--length", options.length,
      "tokens of a segment; the smaller of 4096 and the model's positions, unless given");
  app.add_option("--scored", options.scored,
                 "tokens at its end that are scored; a quarter of --length, unless given");
  app.add_option("--segments", options.segments)->capture_default_str();
  app.add_option("--skip", options.skip, "segments to leave out first")->capture_default_str();
}

std::string segments_text(int64_t segments) {
  return segments == 1 ? "a segment" : fmt::format("{} segments", segments);
}

motet::Segments read_text(const Options& options, const TextOptions& text,
                          const motet::Tokenizer& tokenizer) {
  const auto documents = motet::read_documents(text.paths, text.field);
  std::vector<std::vector<int64_t>> tokens;
  std::string hashes, names;
  for (const auto& document : documents) {
    tokens.push_back(tokens_of(options, tokenizer, document));
    hashes += motet::sha256(document.text) + "\n";
  }
  for (const auto& path : text.paths) {
    names += (names.empty() ? "" : ", ") + path.string();
  }
  motet::Source source;
  const auto& first = text.paths[0];
  source.name = first == "-" ? "standard input" : first.filename().string();
  if (text.paths.size() > 1) {
    source.name = fmt::format("{} and {} more", source.name, text.paths.size() - 1);
  }
  if (documents.size() > 1) {
    source.name += fmt::format(" ({} texts)", documents.size());
  }
  source.hash = motet::sha256(documents.size() == 1 ? documents[0].text : hashes);
  return {names, source, std::move(tokens)};
}

}  // namespace program
