#include "normalizer.h"

#include <optional>
#include <utility>

#include "unicode.h"

namespace motet::text {
namespace {

using Result = Normalizer::Result;

/// What one step makes of a text; nothing where it leaves the text alone.
struct Changed {
  std::string text;
  std::optional<bool> keeps_start = {};  ///< of Result, where the step decides it
};

std::optional<Changed> change(const Nfc&, std::string_view text, MatchSpace&) {
  if (is_ascii(text)) {
    return {};
  }
  return Changed{nfc(text)};
}

std::optional<Changed> change(const Replace& step, std::string_view text, MatchSpace& space) {
  Matches matches(step.pattern, text, space);
  auto match = text.empty() ? std::nullopt : matches.next();  // nothing is found in no text
  if (!match) {
    return {};
  }
  Changed changed;
  changed.text.reserve(text.size() + text.size() / 2);
  std::size_t done = 0;
  for (; match; match = matches.next()) {
    if (match->begin == 0 && match->end == 0) {
      changed.keeps_start = step.content.empty() ? std::nullopt : std::optional(true);
    } else if (match->begin == 0 &&
               (step.content.empty() || first_character(text).size() < match->end)) {
      changed.keeps_start = false;  // what is put in stands for the last character that went
    }
    changed.text += text.substr(done, match->begin - done);
    changed.text += step.content;
    done = match->end;
  }
  changed.text += text.substr(done);
  return changed;
}

std::optional<Changed> change(const Prepend& step, std::string_view text, MatchSpace&) {
  if (text.empty()) {
    return {};
  }
  return Changed{step.content + std::string(text)};
}

std::optional<Changed> change(const StripSpace& step, std::string_view text, MatchSpace&) {
  const auto left = step.left ? leading_space(text) : 0;
  text.remove_prefix(left);
  text.remove_suffix(step.right ? trailing_space(text) : 0);
  return Changed{std::string(text), left > 0 ? std::optional(false) : std::nullopt};
}

}  // namespace

Normalizer Normalizer::nfc() {
  Normalizer normalizer;
  normalizer.steps_.emplace_back(Nfc{});
  return normalizer;
}

Result Normalizer::run(std::string_view text, std::deque<std::string>& made,
                       MatchSpace& space) const {
  Result result{text};
  for (const auto& step : steps_) {
    auto changed =
        std::visit([&](const auto& kind) { return change(kind, result.text, space); }, step);
    if (changed) {
      result.text = made.emplace_back(std::move(changed->text));
      result.keeps_start = changed->keeps_start.value_or(result.keeps_start);
    }
  }
  return result;
}

std::string Normalizer::run(const std::string& text) const {
  std::deque<std::string> made;
  MatchSpace space;
  return std::string(run(text, made, space).text);
}

void Normalizer::read(const Field& normalizer) {
  const auto type = type_of(normalizer, {"Sequence", "NFC", "Replace", "Prepend", "Strip"});
  if (type == "Sequence") {
    for (const auto& part : normalizer.at("normalizers").elements()) {
      read(part);
    }
  } else if (type == "NFC") {
    steps_.emplace_back(Nfc{});
  } else if (type == "Replace") {
    steps_.emplace_back(
        Replace{pattern_of(normalizer.at("pattern")), normalizer.at("content").string()});
  } else if (type == "Prepend") {
    steps_.emplace_back(Prepend{normalizer.at("prepend").string()});
  } else {
    steps_.emplace_back(
        StripSpace{normalizer.at("strip_left").boolean(), normalizer.at("strip_right").boolean()});
  }
}

}  // namespace motet::text
