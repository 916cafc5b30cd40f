#include "motet/context/layout.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "motet/error.h"
#include "motet/names.h"

namespace motet {
namespace {

constexpr Names<Positions, 4> kNames({{Positions::kSpread, "spread"},
                                      {Positions::kLeft, "left"},
                                      {Positions::kRight, "right"},
                                      {Positions::kSequential, "sequential"}});

}  // namespace

Positions positions_named(std::string_view name) { return kNames.named("positions", name); }

std::string_view name_of(Positions positions) { return kNames.of(positions); }

double Layout::cost_ratio() const {
  const auto triangle = [](double n) { return n * (n + 1) / 2; };
  double sum = 0, total = 0;
  for (const auto piece : pieces) {
    sum += triangle(static_cast<double>(piece));
    total += static_cast<double>(piece);
  }
  return total == 0 ? 1 : sum / triangle(total);
}

Layout make_layout(int64_t prefix, std::vector<int64_t> pieces, Positions positions) {
  require(prefix >= 0, "motet::make_layout: a prefix of ", prefix, " tokens");
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    require(pieces[i] > 0, "motet::make_layout: piece ", i + 1, " of ", pieces.size(), " has ",
            pieces[i], " tokens; every piece needs one");
  }
  const auto longest = pieces.empty() ? 0 : *std::max_element(pieces.begin(), pieces.end());
  Layout layout{.prefix = prefix, .pieces = std::move(pieces)};
  layout.positions.resize(prefix);
  std::iota(layout.positions.begin(), layout.positions.end(), 0);
  for (const auto length : layout.pieces) {
    const auto before = layout.tokens();
    for (int64_t t = 0; t < length; ++t) {
      switch (positions) {
        case Positions::kSpread:
          layout.positions.push_back(prefix + t * longest / length);
          break;
        case Positions::kLeft:
          layout.positions.push_back(prefix + t);
          break;
        case Positions::kRight:
          layout.positions.push_back(prefix + longest - length + t);
          break;
        case Positions::kSequential:
          layout.positions.push_back(before + t);
          break;
      }
    }
  }
  layout.query_position = positions == Positions::kSequential ? layout.tokens() : prefix + longest;
  return layout;
}

std::vector<int64_t> split_tokens(int64_t tokens, int64_t degree) {
  require(degree >= 1, "motet::split_tokens: ", degree, " pieces; at least 1 is needed");
  const auto size = tokens / degree + (tokens % degree != 0 ? 1 : 0);
  std::vector<int64_t> pieces;
  for (int64_t first = 0; first < tokens; first += size) {
    pieces.push_back(std::min(size, tokens - first));
  }
  require(static_cast<int64_t>(pieces.size()) == degree, "motet::split_tokens: ", tokens,
          " tokens in pieces of ", size, " make ", pieces.size(), " pieces, not ", degree,
          "; choose fewer pieces or a longer context");
  return pieces;
}

std::vector<int64_t> split_units(const std::vector<int64_t>& unit_lengths, int64_t degree) {
  const auto units = static_cast<int64_t>(unit_lengths.size());
  require(degree >= 1 && degree <= units, "motet::split_units: ", units, " units cannot make ",
          degree, " pieces");
  std::vector<int64_t> pieces;
  auto unit = unit_lengths.begin();
  for (int64_t piece = 0; piece < degree; ++piece) {
    const auto last = unit + units / degree + (piece < units % degree ? 1 : 0);
    pieces.push_back(std::accumulate(unit, last, int64_t{0}));
    unit = last;
  }
  return pieces;
}

KeySets encode_sets(const Layout& layout) {
  std::vector<Span> spans{{.set = 1, .rows = layout.prefix, .keys = layout.prefix, .causal = true}};
  auto first = layout.prefix;
  for (const auto piece : layout.pieces) {
    spans.push_back({.set = 0, .first_row = first, .rows = piece, .keys = layout.prefix});
    spans.push_back({.set = 1,
                     .first_row = first,
                     .rows = piece,
                     .first_key = first,
                     .keys = piece,
                     .causal = true});
    first += piece;
  }
  return {2, layout.tokens(), layout.tokens(), std::move(spans)};
}

KeySets read_sets(int64_t prefix, const std::vector<int64_t>& pieces,
                  const std::vector<int64_t>& queries, const std::vector<int64_t>& earlier) {
  require(queries.size() == earlier.size(), "motet::read_sets: ", queries.size(), " queries, ",
          earlier.size(), " counts of earlier keys");
  const auto rows = std::accumulate(queries.begin(), queries.end(), int64_t{0});
  std::vector<Span> spans{{.set = 0, .rows = rows, .keys = prefix}};
  auto first_key = prefix;
  int64_t set = 1;
  for (const auto piece : pieces) {
    spans.push_back({.set = set++, .rows = rows, .first_key = first_key, .keys = piece});
    first_key += piece;
  }
  int64_t first_row = 0;
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const auto own = earlier[i] + queries[i];
    spans.push_back({.set = set,
                     .first_row = first_row,
                     .rows = queries[i],
                     .first_key = first_key,
                     .keys = own,
                     .causal = true});
    first_row += queries[i];
    first_key += own;
  }
  return {set + 1, rows, first_key, std::move(spans)};
}

KeySets behind_window(const KeySets& sets, const std::vector<int64_t>& key_positions,
                      const std::vector<int64_t>& row_positions, int64_t window) {
  require(window >= 1, "motet::behind_window: window = ", window, "; a row sees itself at least");
  require(static_cast<int64_t>(key_positions.size()) == sets.keys() &&
              static_cast<int64_t>(row_positions.size()) == sets.rows(),
          "motet::behind_window: positions of ", key_positions.size(), " keys and ",
          row_positions.size(), " rows, but the sets describe ", sets.keys(), " keys and ",
          sets.rows(), " rows");
  std::vector<Span> spans;
  for (const auto& span : sets.spans()) {
    const auto keys = key_positions.begin() + span.first_key, end = keys + span.keys;
    require(std::is_sorted(keys, end), "motet::behind_window: positions of the keys of (", span,
            ") fall; a window needs them in order");
    const auto last_row = span.first_row + span.rows;
    for (auto row = span.first_row; row < last_row;) {
      Span some = span;  // rows whose positions do not fall: those of one query
      some.first_row = row;
      some.first_visible.clear();
      do {
        const auto oldest = row_positions[row] - window + 1;
        const auto earlier = span.seen_by(row - span.first_row).first;
        some.first_visible.push_back(
            std::max<int64_t>(earlier, std::lower_bound(keys, end, oldest) - keys));
        ++row;
      } while (row < last_row && row_positions[row - 1] <= row_positions[row]);
      some.rows = row - some.first_row;
      some.keys -= span.causal ? last_row - row : 0;
      for (auto& first : some.first_visible) {
        first = std::min(first, some.keys);
      }
      spans.push_back(std::move(some));
    }
  }
  KeySets behind(sets.sets(), sets.rows(), sets.keys(), std::move(spans));
  for (int64_t set = 0; set < sets.sets(); ++set) {
    if (sets.factor(set) != 1) {
      behind = behind.with_factor(set, sets.factor(set));
    }
  }
  return behind;
}

}  // namespace motet
