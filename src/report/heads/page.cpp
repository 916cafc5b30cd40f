#include "report/page.h"

#include <fmt/format.h>

#include <algorithm>

#include "motet/report/heads.h"
#include "report/columns.h"
#include "report/svg.h"

namespace motet {
namespace {

using report::Column;
using report::column;

std::vector<Column<HeadsRow>> columns() {
  using Row = HeadsRow;
  return {column("method", &Row::method, "{}"),
          column("tau", &Row::tau, "{}"),
          column("local", &Row::local_share, "{:.3f}"),
          column("nll", &Row::nll, "{:.3f}"),
          column("Δnll", &Row::delta_nll, "{:+.4f}"),
          column("±", &Row::delta_stderr, "{:.4f}"),
          column("entropy", &Row::entropy_tok, "{:.3f}"),
          column("false local", &Row::false_local, "{:.3f}"),
          column("false long", &Row::false_long, "{:.3f}"),
          column("error", &Row::log_mass_error, "{:.3f}"),
          column("read", &Row::read_share, "{:.3f}")};
}

report::Grid grid_of(const std::vector<HeadsRun>& runs) {
  return report::grid_of_runs(runs, [](const HeadsRun& run) {
    auto grid = report::grid_of(columns(), over_segments(run.segment_rows));
    if (!run.segment_full.empty()) {
      const auto full = over_segments(run.segment_full);
      grid.rows.insert(grid.rows.begin(),
                       {"full", "-", "0.000", fmt::format("{:.3f}", full.nll), "-", "-",
                        fmt::format("{:.3f}", full.entropy_tok), "-", "-", "-", "1.000"});
    }
    return grid;
  });
}

constexpr const char* kUnits =
    "local: decisions for the window alone; false local: local, but long by the oracle of the same "
    "pass, and false long the reverse; all three are shares of all (layer, head, query row). nll, "
    "Δnll (against full, ± its standard error) in nats a token; entropy of attention in nats; "
    "error: mean |ln A_B_hat - ln A_B| in nats; read: of the memory of keys and values that dense "
    "decoding reads.";

std::string summary_of(const HeadsRun& run) {
  const auto& options = run.options;
  report::Summary summary;
  summary.add("model", run.provenance.model.name);
  summary.add("text",
              fmt::format("{}, {} tokens", run.provenance.data.name, run.provenance.data_tokens));
  summary.add("segments",
              fmt::format("{} of {} tokens from segment {} on, {} scored{}", options.segments,
                          options.length, options.skip, options.scored,
                          run.complete() ? "" : "; not all of them done so far"));
  summary.add("window",
              fmt::format("the first {} and the last {} keys of the context, and own keys",
                          options.window.first, options.window.last));
  summary.add("covariance", options.covariance == Covariance::kFull ? "full" : "diagonal");
  if (!run.calibration.name.empty()) {
    summary.add("static heads", "calibrated on " + run.calibration.name);
  }
  summary.add_provenance(run.provenance);
  return summary.html();
}

}  // namespace

std::string table_of(const HeadsRun& run) {
  auto text = report::text_of(grid_of({run}));
  std::string line;
  const std::string units = kUnits;
  for (std::size_t first = 0; first < units.size();) {
    const auto end = std::min(units.find(' ', first), units.size());
    const auto word = units.substr(first, end - first);
    if (line.size() + word.size() > 98) {
      text += line + "\n";
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
    first = end + 1;
  }
  return text + line + "\n";
}

std::string markdown_of(const std::vector<HeadsRun>& runs) {
  return report::markdown_of(grid_of(runs));
}

std::string latex_of(const std::vector<HeadsRun>& runs) { return report::latex_of(grid_of(runs)); }

std::string csv_of(const std::vector<HeadsRun>& runs) { return report::csv_of_runs(runs); }

std::string html_of(const HeadsRun& run) {
  return report::page_of(
      fmt::format("Which heads of {} need far keys: {}", run.provenance.model.name,
                  run.provenance.data.name),
      "Adaptive long-context heads (QAdA, arXiv 2502.09647): every row of every head decides "
      "whether the keys outside its window are needed. Point at a mark for its values.",
      pictures_of(run),
      "<h2>Figures</h2>\n" + report::html_of(grid_of({run})) + "<p class=\"caption\">" +
          svg::escaped(kUnits) + "</p>\n<h2>The run</h2>\n" + summary_of(run));
}

}  // namespace motet
