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

/// A figure of what was asked for; `-` where the row has none.
Column<CompareRow> choice_column(std::string title, double ChoiceFigures::*figure) {
  return {std::move(title), [figure](const CompareRow& row) {
            return row.choice ? fmt::format("{:.2f}", (*row.choice).*figure) : std::string("-");
          }};
}

/// With columns for what some of these rows alone have.
std::vector<Column<CompareRow>> columns(const std::vector<CompareRow>& rows) {
  using Row = CompareRow;
  const auto some = [&](auto has) { return std::any_of(rows.begin(), rows.end(), has); };
  std::vector<Column<Row>> all{{"mode", label_of},
                               column("P", &Row::pieces, "{}"),
                               column("nll", &Row::nll, "{:.3f}"),
                               {"ppl", [](const Row& row) { return perplexity(row.perplexity); }},
                               column("Δnll", &Row::delta_nll, "{:+.3f}"),
                               column("±", &Row::delta_stderr, "{:.3f}"),
                               column("KL", &Row::kl, "{:.3f}"),
                               column("entropy", &Row::entropy_tok, "{:.3f}"),
                               column("between", &Row::entropy_between, "{:.3f}"),
                               column("within", &Row::entropy_within, "{:.3f}"),
                               column("prefix", &Row::mass_prefix, "{:.2f}"),
                               column("own", &Row::mass_own, "{:.2f}"),
                               column("cost", &Row::cost_ratio, "{:.3f}")};
  if (some([](const Row& row) { return row.mass_null.has_value(); })) {
    all.push_back(column("null", &Row::mass_null, "{:.2f}"));
  }
  if (some([](const Row& row) { return row.choice.has_value(); })) {
    all.push_back(choice_column("recall", &ChoiceFigures::recall));
    all.push_back(choice_column("kept", &ChoiceFigures::mass));
  }
  const auto with_gaps = std::find_if(rows.begin(), rows.end(),
                                      [](const Row& row) { return row.near_keys.has_value(); });
  for (std::size_t i = 0; with_gaps != rows.end() && i < with_gaps->near_keys->size(); ++i) {
    const auto title = fmt::format("<{:g}", (*with_gaps->near_keys)[i].gap);
    all.push_back({title, [i](const Row& row) {
                     return row.near_keys ? fmt::format("{:.1f}", row.near_keys->at(i).keys)
                                          : std::string("-");
                   }});
  }
  return all;
}

report::Grid grid_of(const std::vector<CompareRun>& runs) {
  std::vector<CompareRow> every;  // tables of several runs have the same columns
  for (const auto& run : runs) {
    every.insert(every.end(), run.segment_rows.begin(), run.segment_rows.end());
  }
  return report::grid_of_runs(runs, [&](const CompareRun& run) {
    return report::grid_of(columns(every), over_segments(run.segment_rows));
  });
}

/// What the columns say that only some runs have.
std::string notes_of(const CompareRun& run) {
  const auto& rows = run.segment_rows;
  std::string notes;
  if (std::any_of(rows.begin(), rows.end(),
                  [](const CompareRow& row) { return row.mass_null.has_value(); })) {
    notes += "null: probability of the set without keys.\n";
  }
  if (run.options.recall) {
    notes +=
        "recall: share of the pieces of an exact choice of as many that are kept; kept: share of "
        "the\npieces' mass in ordinary reading that lies in those kept.\n";
  }
  if (!run.options.gaps.empty()) {
    notes += "<G: keys whose score is within G nats of the row's largest.\n";
  }
  return notes;
}

}  // namespace

std::string table_of(const CompareRun& run) {
  return report::text_of(grid_of({run})) +
         "nll, Δnll (against full, ± its standard error) and KL(full || mode) in nats a token; "
         "entropy of\nattention in nats, mean over layers, heads and query tokens, = between the "
         "sets (prefix, pieces,\nown) + within them; prefix, own: probability; cost: of attention "
         "inside the pieces, P = 1 is 1.\n" +
         notes_of(run);
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
