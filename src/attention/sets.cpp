#include "motet/attention/sets.h"

#include <algorithm>
#include <cmath>
#include <ostream>
#include <utility>

#include "motet/error.h"

namespace motet {
namespace {

bool overlap(int64_t first, int64_t size, int64_t other_first, int64_t other_size) {
  return std::max(first, other_first) < std::min(first + size, other_first + other_size);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Span& span) {
  return out << "set " << span.set << ", rows " << span.first_row << "+" << span.rows << ", keys "
             << span.first_key << "+" << span.keys << (span.causal ? ", causal" : "")
             << (span.first_visible.empty() ? "" : ", the first hidden");
}

KeyRange Span::seen_by(int64_t row) const {
  return {first_visible.empty() ? 0 : first_visible[row], causal ? keys - rows + 1 + row : keys};
}

KeySets::KeySets(int64_t sets, int64_t rows, int64_t keys, std::vector<Span> spans)
    : sets_(sets), rows_(rows), keys_(keys) {
  for (const auto& span : spans) {
    require(span.set >= 0 && span.set < sets && span.rows >= 0 && span.keys >= 0 &&
                span.first_row >= 0 && span.first_row <= rows - span.rows && span.first_key >= 0 &&
                span.first_key <= keys - span.keys,
            "motet::KeySets: the span (", span, ") leaves ", sets, " sets, ", rows, " rows, ", keys,
            " keys");
    require(!span.causal || span.keys >= span.rows, "motet::KeySets: the causal span (", span,
            ") has fewer keys than rows, so its first rows would see none");
    const auto& first = span.first_visible;
    require(first.empty() || (static_cast<int64_t>(first.size()) == span.rows &&
                              std::is_sorted(first.begin(), first.end()) && first.front() >= 0 &&
                              first.back() <= span.keys),
            "motet::KeySets: the span (", span, ") has first visible keys of ", first.size(),
            " rows; there is one a row, within the span and never falling");
    if (span.rows > 0 && span.keys > 0) {
      spans_.push_back(span);
    }
  }
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const auto &a = spans_[j], &b = spans_[i];
      require(!overlap(a.first_row, a.rows, b.first_row, b.rows) ||
                  !overlap(a.first_key, a.keys, b.first_key, b.keys),
              "motet::KeySets: rows see keys twice in (", a, ") and (", b, ")");
    }
  }
}

double KeySets::factor(int64_t set) const { return factors_.empty() ? 1.0 : factors_.at(set); }

KeySets KeySets::with_factor(int64_t set, double factor) const {
  require(set >= 0 && set < sets_, "motet::KeySets::with_factor: set ", set, " of ", sets_);
  require(std::isfinite(factor) && factor > 0, "motet::KeySets::with_factor: ", factor,
          " is not a finite factor above 0");
  auto copy = *this;
  copy.factors_.resize(sets_, 1.0);
  copy.factors_[set] = factor;
  return copy;
}

bool KeySets::hides_first_keys() const {
  return std::any_of(spans_.begin(), spans_.end(), [](const Span& span) {
    return !span.first_visible.empty() && span.first_visible.back() > 0;
  });
}

int64_t KeySets::pairs() const {
  int64_t pairs = 0;
  for (const auto& span : spans_) {
    if (span.first_visible.empty()) {
      pairs += span.rows * span.keys - (span.causal ? span.rows * (span.rows - 1) / 2 : 0);
      continue;
    }
    for (int64_t row = 0; row < span.rows; ++row) {
      pairs += span.seen_by(row).size();
    }
  }
  return pairs;
}

KeySets all_keys(int64_t rows, int64_t keys) {
  return {1, rows, keys, {{.rows = rows, .keys = keys}}};
}

KeySets causal_keys(int64_t rows, int64_t keys) {
  return {1, rows, keys, {{.rows = rows, .keys = keys, .causal = true}}};
}

}  // namespace motet
