#pragma once

#include <algorithm>
#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

namespace motet {

/// The caller's mistake, or the world's: the message says where, what with the values, and how to
/// fix it.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// The name of an option inside of a message: `require(skip >= 0, Field("skip"), " ", skip, ...)`.
class Field {
 public:
  explicit Field(std::string_view name) : name_(name) {}  ///< as the struct's field is called
  /// Writes it so that FieldError finds it.
  friend std::ostream& operator<<(std::ostream& out, const Field& field) {
    return out << kOpen << field.name_ << kClose;
  }

  static constexpr char kOpen = '\x01';   ///< before a name in a FieldError
  static constexpr char kClose = '\x02';  ///< behind it

 private:
  std::string_view name_;
};

/// An option that cannot be. Its message names options as the struct's fields are called; a program
/// that takes them in another way, such as flags, says it in its own names.
class FieldError : public Error {
 public:
  /// `marked` is the message, with names as Field writes them.
  explicit FieldError(const std::string& marked)
      : Error(renamed(marked, [](std::string_view name) { return std::string(name); })),
        marked_(marked) {}

  /// The message, in which every option is called what `name_of` says.
  std::string named(const std::function<std::string(std::string_view)>& name_of) const {
    return renamed(marked_, name_of);
  }

 private:
  static std::string renamed(const std::string& marked,
                             const std::function<std::string(std::string_view)>& name_of) {
    std::string message;
    for (std::size_t at = 0; at < marked.size();) {
      const auto open = std::min(marked.find(Field::kOpen, at), marked.size());
      const auto close = std::min(marked.find(Field::kClose, open), marked.size());
      message += marked.substr(at, open - at);
      if (open < close) {
        message += name_of(std::string_view(marked).substr(open + 1, close - open - 1));
      }
      at = close + 1;
    }
    return message;
  }

  std::string marked_;
};

/// Throws Error with the parts written one after the other; a FieldError where one of them is a
/// Field.
template <class... Parts>
[[noreturn]] void fail(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  if constexpr ((std::is_same_v<Parts, Field> || ...)) {
    throw FieldError(message.str());
  } else {
    throw Error(message.str());
  }
}

/// As fail, unless `holds`.
template <class... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) [[unlikely]] {
    fail(parts...);
  }
}

}  // namespace motet
