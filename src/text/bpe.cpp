#include "bpe.h"

#include <functional>
#include <queue>
#include <tuple>

namespace motet::text {
namespace {

constexpr int64_t kNone = -1;

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

}  // namespace

void Bpe::add_merge(int64_t left, int64_t right, int64_t rank, int64_t merged) {
  merges_.insert_or_assign(key_of(left, right), Merge{rank, merged});
}

const Bpe::Merge* Bpe::find_merge(int64_t left, int64_t right) const {
  const auto found = merges_.find(key_of(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

int64_t Bpe::encode(std::string_view word, std::vector<int64_t>& ids) const {
  if (!whole_words.empty()) {
    if (const auto found = whole_words.find(std::string(word)); found != whole_words.end()) {
      ids.push_back(found->second);
      return 0;
    }
  }

  int64_t left_out = 0;
  bool after_unknown = false;
  std::vector<Symbol> symbols;
  symbols.reserve(word.size());
  for (const char c : word) {
    const auto& known = byte_ids[static_cast<std::uint8_t>(c)];
    const auto id = known ? known : unknown;
    if (!id) {
      ++left_out;
    } else if (known || !(after_unknown && fuse_unknown)) {
      const auto at = static_cast<int64_t>(symbols.size());
      symbols.push_back({*id, at - 1, at + 1});
    }
    after_unknown = !known;
  }
  if (symbols.empty()) {
    return left_out;
  }
  symbols.back().right = kNone;

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
  return left_out;
}

}  // namespace motet::text
