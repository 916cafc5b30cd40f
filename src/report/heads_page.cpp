#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "motet/report/heads.h"
#include "report/grid.h"
#include "report/page.h"
#include "report/svg.h"

namespace motet {
namespace {

const std::vector<std::string> kColumns{"method",     "tau",   "local",   "nll",
                                        "Δnll",       "±",     "entropy", "false local",
                                        "false long", "error", "read"};

std::vector<std::string> cells_of(const HeadsRow& row) {
  const auto share = [](double x) { return fmt::format("{:.3f}", x); };
  return {row.method,
          fmt::format("{}", row.tau),
          share(row.local_share),
          share(row.nll),
          fmt::format("{:+.4f}", row.delta_nll),
          row.delta_stderr ? fmt::format("{:.4f}", *row.delta_stderr) : "-",
          share(row.entropy_tok),
          share(row.false_local),
          share(row.false_long),
          share(row.log_mass_error),
          share(row.read_share)};
}

report::Grid grid_of(const std::vector<HeadsRun>& runs) {
  std::vector<report::Grid> grids;
  std::vector<std::string> names;
  for (const auto& run : runs) {
    auto& grid = grids.emplace_back(report::Grid{kColumns, {}});
    if (!run.segment_full.empty()) {
      const auto full = over_segments(run.segment_full);
      grid.rows.push_back({"full", "-", "0.000", fmt::format("{:.3f}", full.nll), "-", "-",
                           fmt::format("{:.3f}", full.entropy_tok), "-", "-", "-", "1.000"});
    }
    for (const auto& row : over_segments(run.segment_rows)) {
      grid.rows.push_back(cells_of(row));
    }
    names.push_back(fmt::format("{}, {}", run.model.name, run.data.name));
  }
  return report::joined(grids, names);
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
  summary.add("model", run.model.name);
  summary.add("text", fmt::format("{}, {} tokens", run.data.name, run.data_tokens));
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
  summary.add("numbers", fmt::format("{}, {} threads, {}, kernel {}, seed {}", run.dtype,
                                     run.threads, run.device, run.kernel, options.seed));
  summary.add("motet", fmt::format("{} ({})", run.version, run.revision));
  summary.add_command(run.command);
  return summary.html();
}

}  // namespace

std::string table_of(const HeadsRun& run) {
  auto text = report::text_of(grid_of({run}), {9, 6, 6, 7, 8, 7, 8, 12, 11, 7, 6});
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

std::string csv_of(const std::vector<HeadsRun>& runs) {
  std::vector<nlohmann::ordered_json> documents;
  for (const auto& run : runs) {
    documents.push_back(json_of(run));
  }
  return report::csv_of(documents);
}

std::string html_of(const HeadsRun& run) {
  return report::page_of(
      fmt::format("Which heads of {} need far keys: {}", run.model.name, run.data.name),
      "Adaptive long-context heads (QAdA, arXiv 2502.09647): every row of every head decides "
      "whether the keys outside its window are needed. Point at a mark for its values.",
      pictures_of(run),
      "<h2>Figures</h2>\n" + report::html_of(grid_of({run})) + "<p class=\"caption\">" +
          svg::escaped(kUnits) + "</p>\n<h2>The run</h2>\n" + summary_of(run));
}

}  // namespace motet
