#include "token_decoder.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "byte_level.h"
#include "pre_tokenizer.h"
#include "unicode.h"

namespace motet::text {
namespace {

std::string replaced(const Pattern& pattern, const std::string& content, const std::string& text) {
  thread_local MatchSpace space;
  Matches matches(pattern, text, space);
  std::string made;
  std::size_t done = 0;
  while (!text.empty()) {  // nothing is found in no text
    const auto match = matches.next();
    if (!match) {
      break;
    }
    made += text.substr(done, match->begin - done) + content;
    done = match->end;
  }
  return made + text.substr(done);
}

std::string apply(const TokenDecoder::ReplaceIn& step, std::string token, bool) {
  return replaced(step.pattern, step.content, token);
}

std::string apply(const TokenDecoder::FromStandIns&, std::string token, bool) {
  auto bytes = bytes_from_symbols(token);
  return bytes ? std::move(*bytes) : token;
}

std::string apply(const TokenDecoder::FromByteName&, std::string token, bool) {
  const auto byte = named_byte(token);
  return byte ? std::string(1, static_cast<char>(*byte)) : token;
}

std::string apply(const TokenDecoder::Join&, std::string token, bool) { return token; }

std::string apply(const TokenDecoder::StripFrom& step, std::string token, bool) {
  std::string_view rest = token;
  for (int64_t i = 0; i < step.start && rest.starts_with(step.content); ++i) {
    rest.remove_prefix(step.content.size());
  }
  for (int64_t i = 0; i < step.stop && rest.ends_with(step.content); ++i) {
    rest.remove_suffix(step.content.size());
  }
  return std::string(rest);
}

std::string apply(const TokenDecoder::FromMark& step, std::string token, bool is_first) {
  return replaced(Pattern::literal(step.mark), is_first && step.drop_first ? "" : " ", token);
}

template <class Kind>
bool is(const TokenDecoder::Step& step) {
  return std::holds_alternative<Kind>(step);
}

}  // namespace

TokenDecoder TokenDecoder::byte_level() {
  TokenDecoder decoder;
  decoder.steps_.emplace_back(FromStandIns{});
  return decoder;
}

std::size_t TokenDecoder::joining() const {
  std::size_t at = 0;
  while (at < steps_.size() && !is<Join>(steps_[at]) && !is<FromStandIns>(steps_[at])) {
    ++at;
  }
  return at;
}

std::string TokenDecoder::one(std::string_view token, bool is_first) const {
  std::string made(token);
  const auto last = std::min(joining() + 1, steps_.size());
  for (std::size_t i = 0; i < last; ++i) {
    made = std::visit([&](const auto& step) { return apply(step, std::move(made), is_first); },
                      steps_[i]);
  }
  return made;
}

bool TokenDecoder::heeds_first() const {
  for (std::size_t i = 0; i < joining(); ++i) {
    if (const auto* mark = std::get_if<FromMark>(&steps_[i]); mark != nullptr && mark->drop_first) {
      return true;
    }
  }
  return false;
}

std::string TokenDecoder::whole(std::string joined) const {
  for (auto i = joining() + 1; i < steps_.size(); ++i) {
    joined = std::visit(
        [&](const auto& step) { return apply(step, std::move(joined), /*is_first=*/true); },
        steps_[i]);
  }
  return joined;
}

void TokenDecoder::read(const Field& decoder) {
  const auto type = type_of(
      decoder, {"Sequence", "ByteLevel", "Replace", "ByteFallback", "Fuse", "Strip", "Metaspace"});
  if (type == "Sequence") {
    for (const auto& part : decoder.at("decoders").elements()) {
      read(part);
    }
  } else if (type == "ByteLevel") {
    steps_.emplace_back(FromStandIns{});
  } else if (type == "Replace") {
    const bool of_bytes = std::any_of(steps_.begin(), steps_.end(), [](const Step& step) {
      return is<FromStandIns>(step) || is<FromByteName>(step);
    });
    auto pattern = pattern_of(decoder.at("pattern"));
    decoder.at("pattern").require(!of_bytes || pattern.is_literal(),
                                  "a regular expression behind ByteLevel or ByteFallback, where "
                                  "tokens may be parts of characters, is not supported");
    steps_.emplace_back(ReplaceIn{std::move(pattern), decoder.at("content").string()});
  } else if (type == "ByteFallback") {
    steps_.emplace_back(FromByteName{});
  } else if (type == "Fuse") {
    steps_.emplace_back(Join{});
  } else if (type == "Strip") {
    const auto content = decoder.at("content");
    content.require(first_character(content.string()).size() == content.string().size() &&
                        !content.string().empty(),
                    "must be one character, not ", content.value().dump());
    steps_.emplace_back(
        StripFrom{content.string(), decoder.at("start").count(), decoder.at("stop").count()});
  } else {
    steps_.emplace_back(FromMark{decoder.at("replacement").string(),
                                 prepend_of(decoder) != Metaspace::Prepend::kNever});
  }
}

}  // namespace motet::text
