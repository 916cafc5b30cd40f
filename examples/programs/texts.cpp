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

int64_t Text::tokens() const {
  int64_t sum = 0;
  for (const auto& document : documents_) {
    sum += static_cast<int64_t>(document.size());
  }
  return sum;
}

int64_t Text::segments(int64_t length) const {
  int64_t sum = 0;
  for (const auto& document : documents_) {
    sum += static_cast<int64_t>(document.size()) / length;
  }
  return sum;
}

std::vector<int64_t> Text::segment(int64_t index, int64_t length) const {
  for (const auto& document : documents_) {
    const auto here = static_cast<int64_t>(document.size()) / length;
    if (index < here) {
      const auto first = document.begin() + index * length;
      return {first, first + length};
    }
    index -= here;
  }
  motet::fail(names_, ": there is no segment ", index, " behind the last one");
}

void Text::check_segments(int64_t skip, int64_t segments, int64_t length, int64_t least) const {
  const auto wanted = skip + segments;
  if (this->segments(length) >= wanted) {
    return;
  }
  auto largest = length;
  while (largest > 0 && this->segments(largest) < wanted) {
    --largest;
  }
  motet::fail(
      names_, ": ", tokens(), " tokens ",
      documents_.size() == 1 ? std::string() : fmt::format("in {} texts ", documents_.size()),
      "are too few for ", wanted, " segments (--skip ", skip, " --segments ", segments,
      ") of --length ", length,
      largest >= least ? fmt::format("; the largest --length that would do is {}", largest)
                       : "; choose fewer segments or a longer text");
}

Text read_text(const Options& options, const TextOptions& text, const motet::Tokenizer& tokenizer) {
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
