#include "bpe.h"

#include <functional>
#include <queue>
#include <tuple>
#include <utility>

#include "byte_level.h"
#include "motet/error.h"
#include "unicode.h"

namespace motet::text {
namespace {

constexpr int64_t kNone = -1;
constexpr char32_t kTable = 0x10000;       // code points with a place in a table
constexpr std::size_t kPairBits = 1 << 22;  // half a megabyte

/// A node of the doubly linked list of a word's symbols.
struct Symbol {
  int64_t id;
  int64_t left;
  int64_t right;
};

/// A pair that can be merged, or could be when it was found: `at` is its left symbol.
struct Candidate {
  int64_t rank;
  int64_t at;
  int64_t merged;

  bool operator>(const Candidate& other) const {
    return std::tie(rank, at) > std::tie(other.rank, other.at);
  }
};

std::uint64_t key_of(int64_t left, int64_t right) {
  return static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint64_t>(right);
}

std::size_t pair_bit(char32_t left, char32_t right) {
  const auto mixed = (static_cast<std::uint64_t>(left) << 32 | right) * 0x9E3779B97F4A7C15u;
  return mixed >> 42;  // the highest 22 bits
}

}  // namespace

std::optional<std::string> Bpe::add_merge(std::string_view left, std::string_view right,
                                          int64_t rank, const Vocabulary& vocabulary) {
  std::array<int64_t, 3> ids;
  const std::array<std::string, 3> tokens{std::string(left), std::string(right),
                                          std::string(left) + std::string(right)};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto found = vocabulary.find(tokens[i]);
    if (found == vocabulary.end()) {
      return tokens[i];
    }
    ids[i] = found->second;
  }
  merges_.insert_or_assign(key_of(ids[0], ids[1]), Merge{rank, ids[2]});
  if (!byte_level) {
    keep_pairs_of(tokens[2]);
  }
  return std::nullopt;
}

void Bpe::keep_pairs_of(std::string_view token) {
  pairs_.resize(kPairBits / 64);
  auto left = first_character(token);
  for (token.remove_prefix(left.size()); !token.empty();) {
    const auto right = first_character(token);
    const auto bit = pair_bit(code_point(left), code_point(right));
    pairs_[bit / 64] |= std::uint64_t{1} << bit % 64;
    token.remove_prefix(right.size());
    left = right;
  }
}

bool Bpe::may_meet(char32_t left, char32_t right) const {
  const auto bit = pair_bit(left, right);
  return !pairs_.empty() && (pairs_[bit / 64] >> bit % 64 & 1) != 0;
}

void Bpe::prepare(const Vocabulary& vocabulary) {
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto name = byte_level ? byte_symbols()[byte]
                                 : name_of_byte(static_cast<std::uint8_t>(byte));
    if (const auto found = vocabulary.find(name); found != vocabulary.end()) {
      byte_ids_[byte] = found->second;
    }
  }
  if (!byte_level) {
    characters_.assign(kTable, kNone);
  }
  for (const auto& [token, id] : vocabulary) {
    if (!byte_level && !token.empty() && first_character(token).size() == token.size()) {
      const auto point = code_point(token);
      (point < kTable ? characters_[point] : more_characters_[point]) = id;
    }
    if (ignore_merges) {
      auto word = byte_level ? bytes_from_symbols(token) : std::optional(token);
      if (word) {
        whole_words_.emplace(std::move(*word), id);
      }
    }
  }
}

std::optional<int64_t> Bpe::character(char32_t point) const {
  if (point < kTable) {
    return characters_[point] == kNone ? std::nullopt : std::optional(characters_[point]);
  }
  const auto found = more_characters_.find(point);
  return found == more_characters_.end() ? std::nullopt : std::optional(found->second);
}

const Bpe::Merge* Bpe::find_merge(int64_t left, int64_t right) const {
  const auto found = merges_.find(key_of(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

std::size_t Bpe::independent(std::string_view text) const {
  if (byte_level || ignore_merges) {
    return text.size();
  }
  std::size_t at = 0;
  std::optional<char32_t> left;  // the character before, where it has a token of its own
  while (at < text.size()) {
    const auto next = first_character(text.substr(at));
    const auto point = code_point(next);
    const bool known = character(point).has_value();
    if (left && known && !may_meet(*left, point)) {
      return at;
    }
    left = known ? std::optional(point) : std::nullopt;
    at += next.size();
  }
  return at;
}

/// Symbols of a word, with what stands for characters that have none. As in Hugging Face, an
/// unknown token waits for the next character that has a token, so bytes of others go before it.
class Bpe::Symbols {
 public:
  Symbols(const Bpe& bpe, std::size_t size) : bpe_(bpe) { symbols_.reserve(size); }

  /// One byte or character, as it is written, with its id where it has one.
  void add(std::string_view unit, std::optional<int64_t> id) {
    if (id) {
      flush();
      push(*id);
    } else if (!(bpe_.byte_fallback && push_bytes(unit))) {
      unknown(unit);
    }
  }

  std::vector<Symbol> finish() {
    flush();
    if (!symbols_.empty()) {
      symbols_.back().right = kNone;
    }
    return std::move(symbols_);
  }

  int64_t left_out = 0;

 private:
  void push(int64_t id) {
    const auto at = static_cast<int64_t>(symbols_.size());
    symbols_.push_back({id, at - 1, at + 1});
  }

  bool push_bytes(std::string_view unit) {
    for (const char byte : unit) {
      if (!bpe_.byte_ids_[static_cast<std::uint8_t>(byte)]) {
        return false;
      }
    }
    for (const char byte : unit) {
      push(*bpe_.byte_ids_[static_cast<std::uint8_t>(byte)]);
    }
    return true;
  }

  void unknown(std::string_view unit) {
    if (bpe_.unknown_token.empty()) {
      left_out += static_cast<int64_t>(unit.size());
      return;
    }
    require(bpe_.unknown.has_value(), "motet::Tokenizer::encode: \"", unit,
            "\" has no token, and the vocabulary lacks the token that would stand for it, "
            "unk_token \"",
            bpe_.unknown_token, "\"");
    if (!(waits_ && bpe_.fuse_unknown)) {
      flush();
    }
    waits_ = true;
  }

  void flush() {
    if (std::exchange(waits_, false)) {
      push(*bpe_.unknown);
    }
  }

  const Bpe& bpe_;
  std::vector<Symbol> symbols_;
  bool waits_ = false;  // an unknown token does
};

int64_t Bpe::encode(std::string_view word, std::vector<int64_t>& ids) const {
  if (!whole_words_.empty()) {
    if (const auto found = whole_words_.find(std::string(word)); found != whole_words_.end()) {
      ids.push_back(found->second);
      return 0;
    }
  }

  Symbols made(*this, word.size());
  while (!word.empty()) {
    const auto unit = byte_level ? word.substr(0, 1) : first_character(word);
    made.add(unit, byte_level ? byte_ids_[static_cast<std::uint8_t>(unit[0])]
                               : character(code_point(unit)));
    word.remove_prefix(unit.size());
  }
  auto symbols = made.finish();
  if (symbols.empty()) {
    return made.left_out;
  }

  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto consider = [&](int64_t at) {  // the pair of `at` and what is to its right
    if (at == kNone || symbols[at].right == kNone) {
      return;
    }
    if (const auto* merge = find_merge(symbols[at].id, symbols[symbols[at].right].id)) {
      candidates.push({merge->rank, at, merge->id});
    }
  };
  for (int64_t at = 0; at < static_cast<int64_t>(symbols.size()); ++at) {
    consider(at);
  }
  while (!candidates.empty()) {
    const auto [rank, at, merged] = candidates.top();
    candidates.pop();
    auto& symbol = symbols[at];
    if (symbol.id == kNone || symbol.right == kNone) {
      continue;  // merged into another since, or the last one now
    }
    auto& right = symbols[symbol.right];
    const auto* merge = find_merge(symbol.id, right.id);
    if (merge == nullptr || merge->id != merged) {
      continue;  // another pair since
    }
    symbol.id = merged;
    symbol.right = right.right;
    right.id = kNone;
    if (symbol.right != kNone) {
      symbols[symbol.right].left = at;
    }
    consider(symbol.left);
    consider(at);
  }

  for (int64_t at = 0; at != kNone; at = symbols[at].right) {
    ids.push_back(symbols[at].id);
  }
  return made.left_out;
}

}  // namespace motet::text
