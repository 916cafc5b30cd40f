#include "motet/report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "motet/error.h"
#include "motet/report/json.h"
#include "report/grid.h"

namespace motet {
namespace {

template <class T>
std::string cell(const std::optional<T>& value, fmt::format_string<const T&> format) {
  return value ? fmt::format(format, *value) : "-";
}

/// Two decimals, while that says something.
std::string perplexity(double value) {
  return value < 10000 ? fmt::format("{:.2f}", value) : fmt::format("{:.3g}", value);
}

const std::vector<std::string> kColumns{"mode",   "P",   "nll",     "ppl",     "Δnll",
                                        "±",      "KL",  "entropy", "between", "within",
                                        "prefix", "own", "cost"};

std::vector<std::string> cells_of(const CompareRow& row) {
  return {label_of(row),
          std::to_string(row.pieces),
          fmt::format("{:.3f}", row.nll),
          perplexity(row.perplexity),
          cell(row.delta_nll, "{:+.3f}"),
          cell(row.delta_stderr, "{:.3f}"),
          cell(row.kl, "{:.3f}"),
          fmt::format("{:.3f}", row.entropy_tok),
          fmt::format("{:.3f}", row.entropy_between),
          fmt::format("{:.3f}", row.entropy_within),
          fmt::format("{:.2f}", row.mass_prefix),
          fmt::format("{:.2f}", row.mass_own),
          fmt::format("{:.3f}", row.cost_ratio)};
}

report::Grid grid_of(const std::vector<Run>& runs) {
  std::vector<report::Grid> grids;
  std::vector<std::string> names;
  for (const auto& run : runs) {
    auto& grid = grids.emplace_back(report::Grid{kColumns, {}});
    for (const auto& row : over_segments(run.segment_rows)) {
      grid.rows.push_back(cells_of(row));
    }
    names.push_back(fmt::format("{}, {}", run.model.name, run.data.name));
  }
  return report::joined(grids, names);
}

}  // namespace

std::string table_of(const Run& run) {
  const auto table = grid_of({run});
  std::vector<std::size_t> widths{10, 3, 7, 8, 7, 6, 6, 7, 7, 7, 6, 5, 6};
  for (const auto& row : table.rows) {
    widths[0] = std::max(widths[0], row[0].size());
  }
  return report::text_of(table, widths) +
         "nll, Δnll (against full, ± its standard error) and KL(full || mode) in nats a token; "
         "entropy of\nattention in nats, mean over layers, heads and query tokens, = between the "
         "sets (prefix, pieces,\nown) + within them; prefix, own: probability; cost: of attention "
         "inside the pieces, P = 1 is 1.\n";
}

std::string markdown_of(const std::vector<Run>& runs) { return report::markdown_of(grid_of(runs)); }

std::string latex_of(const std::vector<Run>& runs) { return report::latex_of(grid_of(runs)); }

std::string html_table_of(const std::vector<Run>& runs) { return report::html_of(grid_of(runs)); }

std::string csv_of(const std::vector<Run>& runs) {
  std::vector<nlohmann::ordered_json> documents;
  for (const auto& run : runs) {
    documents.push_back(json_of(run));
  }
  return report::csv_of(documents);
}

std::string heat_map_of(const Run& run) {
  const auto rows = over_segments(run.segment_rows);
  if (rows.empty()) {
    return "";
  }
  const auto& last = *std::max_element(
      rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.pieces < b.pieces; });
  const auto full = std::find_if(rows.begin(), rows.end(),
                                 [](const CompareRow& row) { return row.mode == "full"; });
  std::vector<const CompareRow*> shown;
  if (full != rows.end()) {
    shown.push_back(&*full);
  }
  if (full == rows.end() || &*full != &last) {
    shown.push_back(&last);
  }
  double most = 0;
  for (const auto* row : shown) {
    for (const auto& layer : row->entropy_heads) {
      most = std::max(most, *std::max_element(layer.begin(), layer.end()));
    }
  }
  static const std::vector<std::string> kShades{" ", "░", "▒", "▓", "█"};
  const auto layers = shown[0]->entropy_heads.size(), heads = shown[0]->entropy_heads[0].size();
  auto text = fmt::format(
      "Entropy of each head, layers to the right, heads downwards: ' ' 0 to '█' "
      "{:.1f} nats\n",
      most);
  for (const auto* row : shown) {
    text +=
        fmt::format("{:<{}}  ", fmt::format("{}, P = {}", label_of(*row), row->pieces), layers + 1);
  }
  text += '\n';
  for (std::size_t head = 0; head < heads; ++head) {
    for (const auto* row : shown) {
      text += '|';
      for (std::size_t layer = 0; layer < layers; ++layer) {
        const auto share = row->entropy_heads[layer][head] / std::max(most, 1e-9);
        text += kShades[std::min<std::size_t>(kShades.size() - 1,
                                              static_cast<std::size_t>(share * kShades.size()))];
      }
      text += "|  ";
    }
    text += '\n';
  }
  return text;
}

}  // namespace motet
