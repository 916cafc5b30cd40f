#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace motet {

/// A text, and where it came from: a path, a line of a file (`texts.jsonl:3`), or `-`.
struct Document {
  std::string name;       ///< where it came from
  std::string text;       ///< the whole of it, UTF-8
  bool had_mark = false;  ///< a byte order mark stood before it, which is left out
};

/// Texts of files, folders and standard input, in the order given. Of a folder, every `.txt` and
/// `.jsonl` file in it and below, by name. `-` is standard input, one text. A `.jsonl` file has a
/// text in each line that is not blank: a JSON string, or the field `field` of a JSON object.
/// Throws Error where something cannot be read, is no text, is empty, or a folder holds no text.
std::vector<Document> read_documents(const std::vector<std::filesystem::path>& paths,
                                     const std::string& field = "text");

}  // namespace motet
