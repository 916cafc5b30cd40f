#include "pre_tokenizer.h"

#include <utility>
#include <variant>
#include <vector>

namespace motet::text {
namespace {

// https://github.com/openai/gpt-2/blob/master/src/encoder.py
constexpr std::string_view kGpt2Pattern =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

// https://github.com/QwenLM/Qwen/blob/main/tokenization_note.md, as Hugging Face writes it.
constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

// \w of the Rust crate regex (Unicode Technical Standard 18, annex C), and what is neither that nor
// white space.
constexpr std::string_view kWords =
    R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}]+)"
    R"(|[^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\p{White_Space}]+)";

using Behavior = Split::Behavior;

Behavior behavior_of(const Field& field) {
  const std::pair<const char*, Behavior> kKnown[]{
      {"Isolated", Behavior::kIsolated},
      {"Removed", Behavior::kRemoved},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
      {"Contiguous", Behavior::kContiguous},
  };
  std::string names;
  for (const auto& [name, behavior] : kKnown) {
    if (field.string() == name) {
      return behavior;
    }
    names += (names.empty() ? "" : ", ") + std::string(name);
  }
  field.fail(field.value().dump(), " is not supported; supported: ", names);
}

/// A part of a text between two places, a match or what lies between matches.
struct Segment {
  std::size_t begin;
  std::size_t end;
  bool match;
};

std::vector<Segment> segments_of(const Split& stage, std::string_view text, MatchSpace& space) {
  std::vector<Segment> segments;
  std::size_t done = 0;
  Matches matches(stage.pattern, text, space);
  while (const auto match = matches.next()) {
    if (match->begin > done) {
      segments.push_back({done, match->begin, stage.invert});
    }
    segments.push_back({match->begin, match->end, !stage.invert});
    done = match->end;
  }
  if (done < text.size()) {
    segments.push_back({done, text.size(), stage.invert});
  }
  return segments;
}

/// Whether a segment joins the one before it.
bool joins(Behavior behavior, const Segment& before, const Segment& segment) {
  switch (behavior) {
    case Behavior::kMergedWithPrevious:
      return segment.match && !before.match;
    case Behavior::kMergedWithNext:
      return before.match && !segment.match;
    case Behavior::kContiguous:
      return segment.match == before.match;
    default:
      return false;
  }
}

}  // namespace

Metaspace::Prepend prepend_of(const Field& metaspace) {
  const auto old = metaspace.find("add_prefix_space");  // before there was a scheme
  if (old && !old->boolean()) {
    return Metaspace::Prepend::kNever;
  }
  const auto scheme = metaspace.find("prepend_scheme");
  const auto name = scheme ? scheme->string() : "always";
  if (scheme) {
    scheme->require(name == "always" || name == "first" || name == "never", scheme->value().dump(),
                    " is not supported; supported: always, first, never");
  }
  return name == "always"  ? Metaspace::Prepend::kAlways
         : name == "first" ? Metaspace::Prepend::kFirst
                           : Metaspace::Prepend::kNever;
}

std::vector<std::string_view> merged_pieces(const Split& stage, std::string_view text,
                                            MatchSpace& space) {
  std::vector<std::string_view> pieces;
  const auto segments = segments_of(stage, text, space);
  for (std::size_t i = 0; i < segments.size();) {
    const auto first = i++;
    if (stage.behavior == Behavior::kRemoved && segments[first].match) {
      continue;
    }
    while (i < segments.size() && joins(stage.behavior, segments[i - 1], segments[i])) {
      ++i;
    }
    const auto begin = segments[first].begin, end = segments[i - 1].end;
    if (end > begin) {
      pieces.push_back(text.substr(begin, end - begin));
    }
  }
  return pieces;
}

PreTokenizer::PreTokenizer(const Field& pre_tokenizer) { read(pre_tokenizer); }

PreTokenizer PreTokenizer::gpt2(bool prefix_space) {
  PreTokenizer made;
  if (prefix_space) {
    made.stages.emplace_back(PrefixSpace{});
  }
  made.stages.emplace_back(Split{Pattern(from_oniguruma(kGpt2Pattern))});
  made.byte_level = true;
  return made;
}

PreTokenizer PreTokenizer::qwen2(bool prefix_space) {
  PreTokenizer made;
  made.stages.emplace_back(Split{Pattern(from_oniguruma(kQwen2Pattern))});
  if (prefix_space) {
    made.stages.emplace_back(PrefixSpace{});
  }
  made.byte_level = true;
  return made;
}

void PreTokenizer::set_prefix_space(bool wanted, bool of_pieces) {
  std::erase_if(stages,
                [](const Stage& stage) { return std::holds_alternative<PrefixSpace>(stage); });
  if (wanted) {
    stages.emplace(of_pieces ? stages.end() : stages.begin(), PrefixSpace{});
  }
}

void PreTokenizer::read(const Field& part) {
  const auto type = type_of(part, {"Sequence", "Split", "Digits", "ByteLevel", "Metaspace",
                                   "Whitespace", "WhitespaceSplit", "Punctuation"});
  if (type == "Sequence") {
    for (const auto& inner : part.at("pretokenizers").elements()) {
      read(inner);
    }
    return;
  }
  if (byte_level) {  // another ByteLevel is behind it: this stage sees stand-ins, not the text
    stages.emplace_back(StandIns{});
    byte_level = false;
  }
  if (type == "Split") {
    stages.emplace_back(Split{pattern_of(part.at("pattern")), behavior_of(part.at("behavior")),
                              part.at("invert").boolean()});
  } else if (type == "Digits") {
    const bool individual = part.at("individual_digits").boolean();
    stages.emplace_back(Split{Pattern(individual ? "\\p{N}" : "\\p{N}+")});
  } else if (type == "Whitespace") {
    stages.emplace_back(Split{Pattern(kWords), Behavior::kRemoved, /*invert=*/true});
  } else if (type == "WhitespaceSplit") {
    stages.emplace_back(Split{Pattern("\\p{White_Space}"), Behavior::kRemoved});
  } else if (type == "Punctuation") {
    const auto behavior = part.find("behavior");
    stages.emplace_back(Split{Pattern("[\\p{P}$+<=>^`|~]"),
                              behavior ? behavior_of(*behavior) : Behavior::kIsolated});
  } else if (type == "Metaspace") {
    const auto mark = part.at("replacement").string();
    const auto cut = part.find("split");
    stages.emplace_back(Metaspace{mark, prepend_of(part)});
    if (!cut || cut->boolean()) {
      stages.emplace_back(Split{Pattern::literal(mark), Behavior::kMergedWithNext});
    }
  } else {
    if (part.at("add_prefix_space").boolean()) {
      stages.emplace_back(PrefixSpace{});
    }
    const auto use_regex = part.find("use_regex");
    if (!use_regex || use_regex->boolean()) {
      stages.emplace_back(Split{Pattern(from_oniguruma(kGpt2Pattern))});
    }
    byte_level = true;
  }
}

}  // namespace motet::text
