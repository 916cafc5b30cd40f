#include "motet/files/json.h"

#include "motet/error.h"

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

}  // namespace motet
