#include "motet/report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "motet/error.h"
#include "report/columns.h"

namespace motet {
namespace {

using report::Column;
using report::column;

/// Two decimals, while that says something.
std::string perplexity(double value) {
  return value < 10000 ? fmt::format("{:.2f}", value) : fmt::format("{:.3g}", value);
}

std::vector<Column<CompareRow>> columns() {
  using Row = CompareRow;
  return {{"mode", 10, label_of},
          column("P", 3, &Row::pieces, "{}"),
          column("nll", 7, &Row::nll, "{:.3f}"),
          {"ppl", 8, [](const Row& row) { return perplexity(row.perplexity); }},
          column("Δnll", 7, &Row::delta_nll, "{:+.3f}"),
          column("±", 6, &Row::delta_stderr, "{:.3f}"),
          column("KL", 6, &Row::kl, "{:.3f}"),
          column("entropy", 7, &Row::entropy_tok, "{:.3f}"),
          column("between", 7, &Row::entropy_between, "{:.3f}"),
          column("within", 7, &Row::entropy_within, "{:.3f}"),
          column("prefix", 6, &Row::mass_prefix, "{:.2f}"),
          column("own", 5, &Row::mass_own, "{:.2f}"),
          column("cost", 6, &Row::cost_ratio, "{:.3f}")};
}

report::Grid grid_of(const std::vector<CompareRun>& runs) {
  return report::grid_of_runs(runs, [](const CompareRun& run) {
    return report::grid_of(columns(), over_segments(run.segment_rows));
  });
}

}  // namespace

std::string table_of(const CompareRun& run) {
  return report::text_of(grid_of({run})) +
         "nll, Δnll (against full, ± its standard error) and KL(full || mode) in nats a token; "
         "entropy of\nattention in nats, mean over layers, heads and query tokens, = between the "
         "sets (prefix, pieces,\nown) + within them; prefix, own: probability; cost: of attention "
         "inside the pieces, P = 1 is 1.\n";
}

std::string markdown_of(const std::vector<CompareRun>& runs) {
  return report::markdown_of(grid_of(runs));
}

std::string latex_of(const std::vector<CompareRun>& runs) {
  return report::latex_of(grid_of(runs));
}

std::string html_table_of(const std::vector<CompareRun>& runs) {
  return report::html_of(grid_of(runs));
}

std::string csv_of(const std::vector<CompareRun>& runs) { return report::csv_of_runs(runs); }

std::string heat_map_of(const CompareRun& run) {
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
