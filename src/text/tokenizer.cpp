#include "motet/text/tokenizer.h"

#include <algorithm>
#include <deque>
#include <iterator>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "added_tokens.h"
#include "byte_level.h"
#include "motet/error.h"
#include "pre_tokenizer.h"
#include "tokenizer_files.h"
#include "unicode.h"

namespace motet {

struct Tokenizer::State {
  text::Definition definition;
  text::AddedTokens raw;                         // added tokens that are looked for in the raw text
  text::AddedTokens normalized;                  // and in the normalised one
  std::unordered_map<std::string, int64_t> ids;  // added tokens go before the vocabulary
  std::unordered_map<int64_t, std::string> bytes;  // what each id stands for
  int64_t size = 0;
};

namespace {

using text::Definition;

std::vector<text::AddedToken> select(const std::vector<text::AddedToken>& tokens, bool normalized) {
  std::vector<text::AddedToken> selected;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(selected),
               [&](const auto& token) { return token.normalized == normalized; });
  return selected;
}

Tokenizer::State make_state(Definition definition) {
  const auto& added = definition.added_tokens;
  Tokenizer::State state{.definition = {},
                         .raw = text::AddedTokens(select(added, false)),
                         .normalized = text::AddedTokens(select(added, true)),
                         .ids = {},
                         .bytes = {}};
  for (const auto& [token, id] : definition.vocabulary) {
    state.bytes.emplace(id, text::bytes_from_symbols(token).value_or(token));
  }
  state.ids = std::move(definition.vocabulary);
  for (const auto& token : added) {
    state.ids.insert_or_assign(token.content, token.id);
    state.bytes.insert_or_assign(token.id, token.pattern);
  }
  for (const auto& [id, unused] : state.bytes) {
    state.size = std::max(state.size, id + 1);
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
      pre_tokenize(normalize(text), 0);
      return std::move(encoding_);
    }
    for (const auto& outer : state_.raw.split(text, space_)) {
      if (outer.token != nullptr) {
        encoding_.ids.push_back(outer.token->id);
        continue;
      }
      for (const auto& inner : state_.normalized.split(normalize(outer.text), space_)) {
        if (inner.token != nullptr) {
          encoding_.ids.push_back(inner.token->id);
        } else {
          pre_tokenize(inner.text, 0);
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

  std::string_view normalize(std::string_view text) {
    if (!state_.definition.nfc || text::is_ascii(text)) {
      return text;
    }
    return kept_.emplace_back(text::nfc(text));
  }

  void pre_tokenize(std::string_view text, std::size_t stage) {
    if (text.empty()) {
      return;
    }
    if (stage == state_.definition.stages.size()) {
      return append(text);
    }
    const auto& now = state_.definition.stages[stage];
    if (const auto* split = std::get_if<text::Split>(&now)) {
      text::split(*split, text, space_,
                  [&](std::string_view piece) { pre_tokenize(piece, stage + 1); });
    } else {
      pre_tokenize(text[0] == ' ' ? text : kept_.emplace_back(" " + std::string(text)), stage + 1);
    }
  }

  void append(std::string_view word) {
    auto& ids = encoding_.ids;
    const auto [known, is_new] = words_.try_emplace(word, Word{ids.size(), 0, 0});
    auto& at = known->second;
    if (is_new) {
      at.left_out = state_.definition.bpe.encode(word, ids);
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
  std::deque<std::string> kept_;  // text made on the way; views into it stay valid
  std::unordered_map<std::string_view, Word> words_;
};

}  // namespace

Tokenizer Tokenizer::load(const std::filesystem::path& directory) {
  std::error_code ignored;  // what cannot be looked at is not there
  require(std::filesystem::is_directory(directory, ignored), directory.string(),
          ": is not a directory");
  const auto exists = [&](const auto& path) { return std::filesystem::exists(path, ignored); };
  const auto json = directory / "tokenizer.json";
  const auto vocabulary = directory / "vocab.json";
  const auto merges = directory / "merges.txt";
  if (exists(json)) {
    return Tokenizer(std::make_shared<State>(make_state(text::read_tokenizer_json(json))));
  }
  require(exists(vocabulary) && exists(merges), directory.string(),
          ": has no tokenizer.json, nor both vocab.json and merges.txt");
  return Tokenizer(std::make_shared<State>(make_state(text::read_gpt2_files(vocabulary, merges))));
}

Encoding Tokenizer::encode(std::string_view text, const EncodeOptions& options) const {
  const auto invalid = text::first_invalid_byte(text);
  require(invalid == std::string_view::npos, "motet::Tokenizer::encode: byte ", invalid, " of ",
          text.size(), " is not UTF-8");
  return Encoder(*state_).run(text, options.added_tokens);
}

std::string Tokenizer::decode(std::span<const int64_t> ids) const {
  std::string bytes;
  for (const auto id : ids) {
    const auto found = state_->bytes.find(id);
    require(found != state_->bytes.end(), "motet::Tokenizer::decode: id ", id,
            " has no token in a vocabulary of size ", state_->size);
    bytes += found->second;
  }
  return bytes;
}

int64_t Tokenizer::size() const { return state_->size; }

std::optional<int64_t> Tokenizer::id(std::string_view token) const {
  const auto found = state_->ids.find(std::string(token));
  return found == state_->ids.end() ? std::nullopt : std::optional(found->second);
}

const std::vector<int64_t>& Tokenizer::usual_prefix() const {
  return state_->definition.usual_prefix;
}

}  // namespace motet
