#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "json_field.h"
#include "pattern.h"

namespace motet::text {

/// Normalisation form C.
struct Nfc {};

/// Each match becomes `content`.
struct Replace {
  Pattern pattern;
  std::string content;
};

/// `content` goes before a text that is not empty.
struct Prepend {
  std::string content;
};

/// White space at the ends goes.
struct StripSpace {
  bool left = false;
  bool right = false;
};

/// What happens to a text before it is cut: steps, one after another.
class Normalizer {
 public:
  using Step = std::variant<Nfc, Replace, Prepend, StripSpace>;

  /// What a text became.
  struct Result {
    std::string_view text;
    /// Whether its first character comes from the first of the text before (Hugging Face's offset
    /// 0), so that Metaspace's prepend_scheme "first" may take it for the start.
    bool keeps_start = true;
  };

  Normalizer() = default;
  /// Reads the field `normalizer`. Throws Error.
  explicit Normalizer(const Field& normalizer) { read(normalizer); }
  static Normalizer nfc();

  /// `text` is valid UTF-8; what is made on the way is kept in `made`, to which the result may
  /// point.
  Result run(std::string_view text, std::deque<std::string>& made, MatchSpace& space) const;
  /// The same, as a text of its own.
  std::string run(const std::string& text) const;

 private:
  void read(const Field& normalizer);

  std::vector<Step> steps_;
};

}  // namespace motet::text
