#include "motet/eval/segments.h"

#include <algorithm>
#include <string>

#include "motet/error.h"

namespace motet {

int64_t Segments::tokens() const {
  int64_t sum = 0;
  for (const auto& text : texts_) {
    sum += static_cast<int64_t>(text.size());
  }
  return sum;
}

int64_t Segments::count(int64_t length) const {
  int64_t sum = 0;
  for (const auto& text : texts_) {
    sum += static_cast<int64_t>(text.size()) / length;
  }
  return sum;
}

std::vector<int64_t> Segments::segment(int64_t index, int64_t length) const {
  auto left = index;
  for (const auto& text : texts_) {
    const auto here = static_cast<int64_t>(text.size()) / length;
    if (left < here) {
      const auto first = text.begin() + left * length;
      return {first, first + length};
    }
    left -= here;
  }
  fail(names_, ": there is no segment ", index, " of ", length, " tokens, only ", count(length));
}

void Segments::check(int64_t skip, int64_t segments, int64_t length, int64_t least) const {
  const auto there = count(length);
  if (skip <= there && segments <= there - skip) {
    return;
  }
  const auto most = tokens() + 1;  // more segments than any length has
  const auto wanted = std::min(skip, most) + std::min(segments, most);
  auto largest = std::min(length, most);
  while (largest > 0 && count(largest) < wanted) {
    --largest;
  }
  const auto parts =
      texts_.size() == 1 ? std::string() : "in " + std::to_string(texts_.size()) + " texts ";
  const auto fail_with = [&](const auto&... advice) {
    fail(names_, ": ", tokens(), " tokens ", parts, "are too few for ",
         skip > most || segments > most ? "so many" : std::to_string(wanted), " segments (",
         Field("skip"), " ", skip, " ", Field("segments"), " ", segments, ") of ", Field("length"),
         " ", length, advice...);
  };
  if (largest < least) {
    fail_with("; choose fewer segments or a longer text");
  }
  fail_with("; the largest ", Field("length"), " that would do is ", largest);
}

}  // namespace motet
