#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "motet/eval/provenance.h"

namespace motet {

/// Texts in tokens, cut into segments of one length: the items of a run. Each text is cut for
/// itself, from its start; a tail that is shorter is left out, and segments count through all
/// texts.
class Segments {
 public:
  /// `names` are what messages call the texts, all together; `source` is what a run says of them.
  Segments(std::string names, Source source, std::vector<std::vector<int64_t>> texts)
      : names_(std::move(names)), source_(std::move(source)), texts_(std::move(texts)) {}

  const Source& source() const { return source_; }  ///< what the texts are
  int64_t tokens() const;                           ///< of all texts
  int64_t count(int64_t length) const;              ///< segments of this length
  /// The tokens of a segment. Throws Error where there is none of this number.
  std::vector<int64_t> segment(int64_t index, int64_t length) const;
  /// Throws FieldError, with the numbers and what would do, where fewer than `skip + segments` are
  /// there. `least` is the shortest length that makes sense.
  void check(int64_t skip, int64_t segments, int64_t length, int64_t least) const;

 private:
  std::string names_;
  Source source_;
  std::vector<std::vector<int64_t>> texts_;
};

}  // namespace motet
