#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "json_field.h"
#include "pattern.h"

namespace motet::text {

/// Cuts a text at the matches of a pattern.
struct Split {
  /// What becomes of a match: a piece, nothing, the end of the piece before it, the start of the
  /// piece behind it, or one piece with matches that touch it.
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };

  Pattern pattern;
  Behavior behavior = Behavior::kIsolated;
  bool invert = false;  ///< what lies between matches takes their place
};

/// Puts a space before a text that starts with none.
struct PrefixSpace {};

/// Bytes become their stand-ins (byte_level.h), for stages that see those.
struct StandIns {};

/// SentencePiece's mark in the place of spaces, and before the text where it lacks one.
struct Metaspace {
  enum class Prepend { kAlways, kFirst, kNever };  ///< kFirst: where a whole text starts

  std::string mark;
  Prepend prepend = Prepend::kAlways;
};

/// Of a field of type Metaspace, pre-tokenizer or decoder. Throws Error.
Metaspace::Prepend prepend_of(const Field& metaspace);

/// One stage of pre-tokenisation; the next runs on each of its pieces as if there were no other
/// text.
using Stage = std::variant<Split, PrefixSpace, StandIns, Metaspace>;

/// How a text is cut into words, which are encoded each by itself.
struct PreTokenizer {
  std::vector<Stage> stages;
  /// Whether words are bytes, each with a stand-in in the vocabulary, and not characters.
  bool byte_level = false;

  PreTokenizer() = default;
  /// Reads the field `pre_tokenizer`. Throws Error.
  explicit PreTokenizer(const Field& pre_tokenizer);
  /// GPT-2's, and Qwen2's, for directories without tokenizer.json.
  static PreTokenizer gpt2(bool prefix_space);
  static PreTokenizer qwen2(bool prefix_space);
  /// Whether a space goes before a text that starts with none; `of_pieces`: before each piece that
  /// the stages make of it.
  void set_prefix_space(bool wanted, bool of_pieces);

 private:
  void read(const Field& part);
};

/// The pieces of a stage that merges matches with their neighbours, or takes what lies between for
/// them.
std::vector<std::string_view> merged_pieces(const Split& stage, std::string_view text,
                                            MatchSpace& space);

/// Calls `piece(part)` for each piece of `text` in turn; no piece is empty.
template <class Piece>
void split(const Split& stage, std::string_view text, MatchSpace& space, Piece&& piece) {
  const bool isolated = stage.behavior == Split::Behavior::kIsolated;
  if (stage.invert || !(isolated || stage.behavior == Split::Behavior::kRemoved)) {
    for (const auto part : merged_pieces(stage, text, space)) {
      piece(part);
    }
    return;
  }
  std::size_t done = 0;
  const auto give = [&](std::size_t end) {
    if (end > done) {
      piece(text.substr(done, end - done));
    }
    done = end;
  };
  Matches matches(stage.pattern, text, space);
  while (const auto match = matches.next()) {
    give(match->begin);
    if (isolated) {
      give(match->end);
    }
    done = match->end;
  }
  give(text.size());
}

}  // namespace motet::text
