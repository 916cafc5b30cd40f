#include "motet/reading/registry.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "motet/error.h"
#include "reading/shipped.h"

namespace motet {
namespace {

int64_t registrations = 0;

std::vector<std::string> parts_of(std::string_view text, char delimiter) {
  std::vector<std::string> parts;
  for (std::size_t first = 0; first <= text.size();) {
    const auto last = std::min(text.find(delimiter, first), text.size());
    parts.emplace_back(text.substr(first, last - first));
    first = last + 1;
  }
  return parts;
}

std::vector<ReadingKind>& kinds() {
  static std::vector<ReadingKind> known{{.name = "all",
                                         .usage = "all",
                                         .make =
                                             [](const ReadingText& text) {
                                               text.at_most(0);
                                               return std::make_shared<All>();
                                             }},
                                        select_kind(),
                                        soft_kind(),
                                        sharpen_kind(),
                                        discount_kind(),
                                        temper_kind(),
                                        weigh_kind(),
                                        learned_kind(),
                                        null_kind(),
                                        scale_kind(),
                                        guess_kind(),
                                        topk_kind(),
                                        adaptive_kind()};
  return known;
}

template <class Number>
Number number_of(const ReadingText& text, const std::string& option) {
  Number value{};
  const auto* end = option.data() + option.size();
  const auto [last, error] = std::from_chars(option.data(), end, value);
  if (error != std::errc() || last != end) {
    text.fail("'" + option + "' is not a number");
  }
  return value;
}

}  // namespace

ReadingText::ReadingText(std::string_view text) : text_(text), options_(parts_of(text, ':')) {
  name_ = options_.front();
  options_.erase(options_.begin());
}

void ReadingText::at_most(int64_t options) const {
  if (count() > options) {
    fail(std::to_string(count()) + " options");
  }
}

double ReadingText::number(int64_t option, double otherwise) const {
  return option < count() ? number_of<double>(*this, options_[option]) : otherwise;
}

int64_t ReadingText::number(int64_t option, int64_t otherwise) const {
  return option < count() ? number_of<int64_t>(*this, options_[option]) : otherwise;
}

std::string ReadingText::word(int64_t option, const std::string& otherwise) const {
  return option < count() ? options_[option] : otherwise;
}

std::string ReadingText::rest(int64_t option) const {
  std::string text;
  for (auto i = option; i < count(); ++i) {
    text += (i > option ? ":" : "") + options_[i];
  }
  return text;
}

std::vector<std::string> ReadingText::words(int64_t option, char delimiter) const {
  return option < count() ? parts_of(options_[option], delimiter) : std::vector<std::string>();
}

void ReadingText::fail(const std::string& why) const {
  motet::fail("the reading '", text_, "': ", why, "; there are ", reading_usages());
}

int64_t readings_registered() { return registrations; }

bool register_reading(ReadingKind kind) {
  require(!kind.name.empty() && kind.name.find(':') == std::string::npos,
          "motet::register_reading: the name '", kind.name, "'; a name without a colon is wanted");
  require(kind.make != nullptr, "motet::register_reading: ", kind.name, " has no `make`");
  const auto same = std::find_if(kinds().begin(), kinds().end(),
                                 [&](const ReadingKind& known) { return known.name == kind.name; });
  if (same != kinds().end()) {
    *same = std::move(kind);
  } else {
    kinds().push_back(std::move(kind));
  }
  ++registrations;
  return true;
}

const std::vector<ReadingKind>& reading_kinds() { return kinds(); }

std::string reading_usages() {
  std::string text;
  for (const auto& kind : kinds()) {
    const bool first = &kind == &kinds().front(), last = &kind == &kinds().back();
    text += (first ? "" : last ? " and " : ", ") + kind.usage;
  }
  return text;
}

const ReadingKind* find_reading(std::string_view name) {
  const auto found = std::find_if(kinds().begin(), kinds().end(),
                                  [&](const ReadingKind& kind) { return kind.name == name; });
  return found == kinds().end() ? nullptr : &*found;
}

std::shared_ptr<Reading> reading_named(std::string_view text) {
  const ReadingText words(text);
  const auto* kind = find_reading(words.name());
  if (kind == nullptr) {
    words.fail("no such name");
  }
  return kind->make(words);
}

}  // namespace motet
