#include "motet/files/json.h"

#include <algorithm>

#include "motet/error.h"
#include "motet/files/mapped.h"

namespace motet {
namespace {

/// The reason in a message of the library's, without its name, line and column.
std::string reason_of(const std::string& message) {
  if (message.find("surrogate") != std::string::npos) {
    return "half of a surrogate pair; \\ud800 to \\udfff stand for a character two by two, the "
           "first below \\udc00";
  }
  const auto invalid = message.find("invalid ");
  const auto unexpected = message.find("unexpected ");
  const auto first = std::min(invalid, unexpected);
  if (first == std::string::npos) {
    return "it is no JSON";
  }
  const auto last = std::min(message.find("; last read", first), message.find("; expected", first));
  return message.substr(first, last == std::string::npos ? last : last - first);
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  try {
    return nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    fail(where, ": not JSON at byte ", error.byte, ": ", reason_of(error.what()));
  }
}

void for_each_json_line(
    const std::filesystem::path& path,
    const std::function<void(const nlohmann::json& line, const std::string& where)>& visit) {
  const auto text = read_file(path);
  int64_t number = 0;
  bool any = false;
  for (std::size_t first = 0; first < text.size();) {
    const auto last = std::min(text.find('\n', first), text.size());
    const auto line = std::string_view(text).substr(first, last - first);
    first = last + 1;
    ++number;
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      const auto where = path.string() + ":" + std::to_string(number);
      visit(parse_json(line, where), where);
      any = true;
    }
  }
  require(any, path.string(), ": is empty");
}

}  // namespace motet
