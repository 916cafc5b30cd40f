#include "motet/text/documents.h"

#include <algorithm>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "motet/error.h"
#include "motet/files/json.h"
#include "motet/files/mapped.h"

namespace motet {
namespace {

namespace fs = std::filesystem;

void add_lines(const fs::path& path, const std::string& field, std::vector<Document>& documents) {
  for_each_json_line(path, [&](const nlohmann::json& line, const std::string& where) {
    require(!line.is_object() || line.contains(field), where, ": has no field '", field, "'; ",
            Field("field"), " names the one that holds the text");
    const auto& text = line.is_object() ? line[field] : line;
    require(text.is_string() && !text.get<std::string>().empty(), where,
            ": a line is a text, or an object whose field '", field, "' is one, and not empty");
    documents.push_back({where, text.get<std::string>()});
  });
}

/// A whole text, without the mark that some editors put before it.
Document whole(const std::string& name, std::string text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  Document document{name, std::move(text), false};
  if (document.text.starts_with(kMark)) {
    document.text.erase(0, kMark.size());
    document.had_mark = true;
  }
  require(!document.text.empty(), name == "-" ? "standard input" : name, ": is empty");
  return document;
}

void add_file(const fs::path& path, const std::string& field, std::vector<Document>& documents) {
  if (path.extension() == ".jsonl") {
    return add_lines(path, field, documents);
  }
  documents.push_back(whole(path.string(), read_file(path)));
}

}  // namespace

std::vector<Document> read_documents(const std::vector<fs::path>& paths, const std::string& field) {
  std::vector<Document> documents;
  for (const auto& path : paths) {
    if (path == "-") {
      documents.push_back(whole("-", {std::istreambuf_iterator<char>(std::cin), {}}));
      continue;
    }
    if (!fs::is_directory(path)) {
      add_file(path, field, documents);
      continue;
    }
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(path)) {
      const auto extension = entry.path().extension();
      if (entry.is_regular_file() && (extension == ".txt" || extension == ".jsonl")) {
        files.push_back(entry.path());
      }
    }
    require(!files.empty(), path.string(), ": holds no .txt and no .jsonl file");
    std::sort(files.begin(), files.end());
    for (const auto& file : files) {
      add_file(file, field, documents);
    }
  }
  return documents;
}

}  // namespace motet
