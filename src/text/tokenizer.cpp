#include "motet/text/tokenizer.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "added_tokens.h"
#include "byte_level.h"
#include "definition.h"
#include "motet/error.h"
#include "unicode.h"

namespace motet {

struct Tokenizer::State {
  text::Definition definition;
  text::AddedTokens raw;         // added tokens that are looked for in the raw text
  text::AddedTokens normalized;  // and in the normalised one
  text::Bpe::Vocabulary ids;     // added tokens go before the vocabulary
  std::unordered_map<int64_t, std::string> tokens;  // as they are written
  std::unordered_map<int64_t, std::string> bytes;   // what each stands for behind others
  std::unordered_set<int64_t> special;
  int64_t size = 0;
};

namespace {

using text::Definition;

/// Those that are looked for in the raw or the normalised text. One that normalisation takes away
/// is never found.
std::vector<text::AddedToken> select(const std::vector<text::AddedToken>& tokens, bool normalized) {
  std::vector<text::AddedToken> selected;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(selected), [&](const auto& token) {
    return token.normalized == normalized && !token.pattern.empty();
  });
  return selected;
}

Tokenizer::State make_state(Definition definition) {
  const auto& added = definition.added_tokens;
  Tokenizer::State state{.definition = {},
                         .raw = text::AddedTokens(select(added, false)),
                         .normalized = text::AddedTokens(select(added, true)),
                         .ids = std::move(definition.vocabulary),
                         .tokens = {},
                         .bytes = {},
                         .special = {}};
  for (const auto& token : added) {
    state.ids.insert_or_assign(token.content, token.id);
    if (token.special) {
      state.special.insert(token.id);
    }
  }
  const bool heeds_first = definition.decoder.heeds_first();
  const auto add = [&](int64_t id, const std::string& token) {
    if (state.bytes.emplace(id, definition.decoder.one(token, /*is_first=*/false)).second &&
        heeds_first) {
      state.tokens.emplace(id, token);
    }
    state.size = std::max(state.size, id + 1);
  };
  for (const auto& token : added) {
    add(token.id, token.pattern);  // normalised where the token is, as Hugging Face has it
  }
  for (const auto& [token, id] : state.ids) {
    add(id, token);
  }
  state.definition = std::move(definition);
  return state;
}

/// One call of encode: what it has so far, and what it writes to.
class Encoder {
 public:
  explicit Encoder(const Tokenizer::State& state) : state_(state) {}

  Encoding run(std::string_view text, bool added_tokens) {
    if (!added_tokens) {
      const auto normal = state_.definition.normalizer.run(text, kept_, space_);
      pre_tokenize(normal.text, 0, normal.keeps_start);
      return std::move(encoding_);
    }
    for (const auto& outer : state_.raw.split(text, space_)) {
      if (outer.token != nullptr) {
        encoding_.ids.push_back(outer.token->id);
        continue;
      }
      const auto normal = state_.definition.normalizer.run(outer.text, kept_, space_);
      const bool keeps_start = normal.keeps_start && outer.text.data() == text.data();
      for (const auto& inner : state_.normalized.split(normal.text, space_)) {
        if (inner.token != nullptr) {
          encoding_.ids.push_back(inner.token->id);
        } else {
          pre_tokenize(inner.text, 0, keeps_start && inner.text.data() == normal.text.data());
        }
      }
    }
    return std::move(encoding_);
  }

 private:
  /// Where the ids of a word stand in the encoding since it was first met.
  struct Word {
    std::size_t begin;
    std::size_t end;
    int64_t left_out;
  };

  /// What a stage makes of a piece that it does not cut.
  std::string_view made(const text::PrefixSpace&, std::string_view piece, bool) {
    return piece[0] == ' ' ? piece : kept_.emplace_back(" " + std::string(piece));
  }
  std::string_view made(const text::StandIns&, std::string_view piece, bool) {
    return kept_.emplace_back(text::symbols_of(piece));
  }
  std::string_view made(const text::Metaspace& stage, std::string_view piece, bool is_start) {
    using Prepend = text::Metaspace::Prepend;
    const bool starts = piece[0] == ' ' || piece.starts_with(stage.mark);
    std::string marked;
    if (!starts &&
        (stage.prepend == Prepend::kAlways || (stage.prepend == Prepend::kFirst && is_start))) {
      marked = stage.mark;
    }
    for (auto space = piece.find(' '); space != std::string_view::npos; space = piece.find(' ')) {
      marked += piece.substr(0, space);
      marked += stage.mark;
      piece.remove_prefix(space + 1);
    }
    marked += piece;
    return kept_.emplace_back(std::move(marked));
  }

  /// `is_start`: whether the piece starts where the whole text does.
  void pre_tokenize(std::string_view piece, std::size_t stage, bool is_start) {
    const auto& stages = state_.definition.pre_tokenizer.stages;
    if (piece.empty()) {
      return;
    }
    if (stage == stages.size()) {
      return append(piece);
    }
    if (const auto* split = std::get_if<text::Split>(&stages[stage])) {
      text::split(*split, piece, space_, [&](std::string_view part) {
        pre_tokenize(part, stage + 1, is_start && part.data() == piece.data());
      });
    } else {
      const auto whole = std::visit(
          [&](const auto& kind) {
            if constexpr (std::is_same_v<std::decay_t<decltype(kind)>, text::Split>) {
              return piece;  // not here
            } else {
              return made(kind, piece, is_start);
            }
          },
          stages[stage]);
      pre_tokenize(whole, stage + 1, is_start);
    }
  }

  /// A word, in parts that can be encoded, and remembered, each by itself.
  void append(std::string_view word) {
    while (!word.empty()) {
      const auto size = state_.definition.bpe.independent(word);
      append_part(word.substr(0, size));
      word.remove_prefix(size);
    }
  }

  void append_part(std::string_view part) {
    auto& ids = encoding_.ids;
    const auto [known, is_new] = words_.try_emplace(part, Word{ids.size(), 0, 0});
    auto& at = known->second;
    if (is_new) {
      at.left_out = state_.definition.bpe.encode(part, ids, bpe_space_);
      at.end = ids.size();
    } else {
      for (auto i = at.begin; i < at.end; ++i) {
        ids.push_back(ids[i]);
      }
    }
    encoding_.left_out_bytes += at.left_out;
  }

  const Tokenizer::State& state_;
  Encoding encoding_;
  text::MatchSpace space_;
  text::Bpe::Space bpe_space_;
  std::deque<std::string> kept_;  // text made on the way; views into it stay valid
  std::unordered_map<std::string_view, Word> words_;
};

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& directory) {
  return Tokenizer(std::make_shared<State>(make_state(text::read_tokenizer_directory(directory))));
}

Encoding Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const auto invalid = text::first_invalid_byte(text);
  require(invalid == std::string_view::npos, "motet::Tokenizer::encode: byte ", invalid, " of ",
          text.size(), " is not UTF-8");
  return Encoder(*state_).run(text, options.added_tokens);
}

std::string Tokenizer::decode(std::span<const int64_t> ids, const DecodeOptions& options) const {
  const auto& decoder = state_->definition.decoder;
  const bool heeds_first = decoder.heeds_first();
  std::string bytes;
  bool is_first = true;
  for (const auto id : ids) {
    const auto found = state_->bytes.find(id);
    if (found == state_->bytes.end() || (!options.special_tokens && state_->special.contains(id))) {
      continue;
    }
    if (is_first && heeds_first) {
      bytes += decoder.one(state_->tokens.at(id), true);
    } else {
      if (!is_first && !decoder.between().empty()) {
        bytes += decoder.between();
      }
      bytes += found->second;
    }
    is_first = false;
  }
  return decoder.whole(std::move(bytes));
}

std::string Tokenizer::token(int64_t id) const {
  const auto found = state_->bytes.find(id);
  return found == state_->bytes.end() ? "" : found->second;
}

int64_t Tokenizer::size() const { return state_->size; }

std::optional<int64_t> Tokenizer::id(std::string_view token) const {
  const auto found = state_->ids.find(token);
  return found == state_->ids.end() ? std::nullopt : std::optional(found->second);
}

const std::vector<int64_t>& Tokenizer::usual_prefix() const {
  return state_->definition.usual_prefix;
}

}  // namespace motet
