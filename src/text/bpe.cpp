#include "bpe.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <queue>
#include <tuple>
#include <utility>

#include "byte_level.h"
#include "motet/error.h"
#include "unicode.h"

namespace motet::text {
namespace {

constexpr int64_t kNone = -1;
constexpr char32_t kTable = 0x10000;        // code points with a place in a table
constexpr std::size_t kPairBits = 1 << 22;  // half a megabyte

/// A pair that can be merged, or could be when it was found: `at` is its left symbol.
struct Candidate {
  int64_t rank;
  int64_t at;
  int64_t merged;

  bool operator>(const Candidate& other) const {
    return std::tie(rank, at) > std::tie(other.rank, other.at);
  }
};

std::size_t pair_bit(char32_t left, char32_t right) {
  const auto mixed = (static_cast<std::uint64_t>(left) << 32 | right) * 0x9E3779B97F4A7C15u;
  return mixed >> 42;  // the highest 22 bits
}

}  // namespace

std::size_t MergeTable::place_of(std::uint64_t pair) const {
  auto at = (pair * 0x9E3779B97F4A7C15u >> 20) & (slots_.size() - 1);
  while (slots_[at].pair != kNone && slots_[at].pair != pair) {
    at = (at + 1) & (slots_.size() - 1);
  }
  return at;
}

void MergeTable::grow(std::size_t slots) {
  auto old = std::exchange(slots_, std::vector<Merge>(slots));
  for (const auto& merge : old) {
    if (merge.pair != kNone) {
      slots_[place_of(merge.pair)] = merge;
    }
  }
}

void MergeTable::reserve(std::size_t merges) { grow(std::bit_ceil(2 * merges + 2)); }

void MergeTable::insert(int64_t left, int64_t right, int64_t rank, int64_t id) {
  if (2 * (count_ + 1) > slots_.size()) {
    grow(std::max<std::size_t>(64, 2 * slots_.size()));
  }
  const auto pair = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint64_t>(right);
  auto& slot = slots_[place_of(pair)];
  count_ += slot.pair == kNone ? 1 : 0;
  slot = {pair, static_cast<std::int32_t>(rank), static_cast<std::int32_t>(id)};
}

const MergeTable::Merge* MergeTable::find(int64_t left, int64_t right) const {
  if (slots_.empty()) {
    return nullptr;
  }
  const auto pair = static_cast<std::uint64_t>(left) << 32 | static_cast<std::uint64_t>(right);
  const auto& slot = slots_[place_of(pair)];
  return slot.pair == kNone ? nullptr : &slot;
}

std::optional<std::string> Bpe::add_merge(std::string_view left, std::string_view right,
                                          int64_t rank, const Vocabulary& vocabulary) {
  std::string both(left);
  both += right;
  const auto first = vocabulary.find(left), second = vocabulary.find(right),
             merged = vocabulary.find(both);
  for (const auto& [found, token] : {std::pair(first, left), {second, right}, {merged, both}}) {
    if (found == vocabulary.end()) {
      return std::string(token);
    }
  }
  merges_.insert(first->second, second->second, rank, merged->second);
  if (!byte_level) {
    keep_pairs_of(both);
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
    const auto name =
        byte_level ? byte_symbols()[byte] : name_of_byte(static_cast<std::uint8_t>(byte));
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
  Symbols(const Bpe& bpe, Space& space) : bpe_(bpe), ids_(space.ids) { ids_.clear(); }

  /// One byte or character, as it is written, with its id where it has one.
  void add(std::string_view unit, std::optional<int64_t> id) {
    if (id) {
      flush();
      push(*id);
    } else if (!(bpe_.byte_fallback && push_bytes(unit))) {
      unknown(unit);
    }
  }

  void finish() { flush(); }

  int64_t left_out = 0;

 private:
  void push(int64_t id) { ids_.push_back(static_cast<std::int32_t>(id)); }

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
  std::vector<std::int32_t>& ids_;
  bool waits_ = false;  // an unknown token does
};

int64_t Bpe::encode(std::string_view word, std::vector<int64_t>& ids, Space& space) const {
  if (!whole_words_.empty()) {
    if (const auto found = whole_words_.find(word); found != whole_words_.end()) {
      ids.push_back(found->second);
      return 0;
    }
  }
  Symbols made(*this, space);
  while (!word.empty()) {
    const auto unit = byte_level ? word.substr(0, 1) : first_character(word);
    made.add(unit, byte_level ? byte_ids_[static_cast<std::uint8_t>(unit[0])]
                              : character(code_point(unit)));
    word.remove_prefix(unit.size());
  }
  made.finish();
  constexpr std::size_t kShort = 64;  // beyond, looking through all pairs for each merge costs more
  space.ids.size() <= kShort ? merge_short(space, ids) : merge_long(space, ids);
  return made.left_out;
}

/// The rank of each pair of neighbours is kept, and the lowest looked for again after each merge.
void Bpe::merge_short(Space& space, std::vector<int64_t>& ids) const {
  constexpr auto kNever = std::numeric_limits<std::int32_t>::max();
  auto& symbols = space.ids;
  auto& ranks = space.ranks;
  auto& merged = space.merged;
  auto pairs = symbols.empty() ? 0 : symbols.size() - 1;
  ranks.resize(pairs);
  merged.resize(pairs);
  const auto consider = [&](std::size_t at) {  // the pair of `at` and what is to its right
    const auto* merge = merges_.find(symbols[at], symbols[at + 1]);
    ranks[at] = merge == nullptr ? kNever : merge->rank;
    merged[at] = merge == nullptr ? 0 : merge->id;
  };
  for (std::size_t at = 0; at < pairs; ++at) {
    consider(at);
  }
  while (pairs > 0) {
    const auto lowest = std::min_element(ranks.begin(), ranks.begin() + pairs);  // the leftmost
    if (*lowest == kNever) {
      break;
    }
    const auto at = static_cast<std::size_t>(lowest - ranks.begin());
    symbols[at] = merged[at];
    symbols.erase(symbols.begin() + at + 1);
    --pairs;
    if (at < pairs) {  // what was to the right of the second is to the right of both
      ranks.erase(ranks.begin() + at + 1);
      merged.erase(merged.begin() + at + 1);
      consider(at);
    } else {
      ranks.pop_back();
      merged.pop_back();
    }
    if (at > 0) {
      consider(at - 1);
    }
  }
  ids.insert(ids.end(), symbols.begin(), symbols.end());
}

void Bpe::merge_long(Space& space, std::vector<int64_t>& ids) const {
  auto& symbols = space.symbols;
  const auto count = static_cast<int64_t>(space.ids.size());
  symbols.clear();
  for (int64_t at = 0; at < count; ++at) {
    symbols.push_back({space.ids[at], at - 1, at + 1 < count ? at + 1 : kNone});
  }
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> candidates;
  const auto consider = [&](int64_t at) {  // the pair of `at` and what is to its right
    if (at == kNone || symbols[at].right == kNone) {
      return;
    }
    if (const auto* merge = merges_.find(symbols[at].id, symbols[symbols[at].right].id)) {
      candidates.push({merge->rank, at, merge->id});
    }
  };
  for (int64_t at = 0; at < count; ++at) {
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
    const auto* merge = merges_.find(symbol.id, right.id);
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
}

}  // namespace motet::text
