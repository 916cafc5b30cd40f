#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "motet/report/heads.h"
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

std::vector<std::vector<std::string>> lines_of(const HeadsRun& run) {
  std::vector<std::vector<std::string>> lines;
  if (!run.segment_full.empty()) {
    const auto full = over_segments(run.segment_full);
    lines.push_back({"full", "-", "0.000", fmt::format("{:.3f}", full.nll), "-", "-",
                     fmt::format("{:.3f}", full.entropy_tok), "-", "-", "-", "1.000"});
  }
  for (const auto& row : over_segments(run.segment_rows)) {
    lines.push_back(cells_of(row));
  }
  return lines;
}

constexpr const char* kUnits =
    "local: decisions for the window alone; false local: local, but long by the oracle of the same "
    "pass, and false long the reverse; all three are shares of all (layer, head, query row). nll, "
    "Δnll (against full, ± its standard error) in nats a token; entropy of attention in nats; "
    "error: mean |ln A_B_hat - ln A_B| in nats; read: of the memory of keys and values that dense "
    "decoding reads.";

std::string html_table(const HeadsRun& run) {
  std::string text = "<table>\n<thead><tr>";
  for (const auto& column : kColumns) {
    text += "<th>" + column + "</th>";
  }
  text += "</tr></thead>\n<tbody>\n";
  for (const auto& line : lines_of(run)) {
    text += "<tr>";
    for (std::size_t i = 0; i < line.size(); ++i) {
      text += fmt::format("<td{}>{}</td>", i == 0 ? " class=\"word\"" : "", line[i]);
    }
    text += "</tr>\n";
  }
  return text + "</tbody>\n</table>\n";
}

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
  constexpr std::array<int, 11> kWidths{9, 6, 6, 7, 8, 7, 8, 12, 11, 7, 6};
  std::string text;
  const auto add = [&](const std::vector<std::string>& cells) {
    text += fmt::format("{:<{}}", cells[0], kWidths[0]);
    for (std::size_t i = 1; i < cells.size(); ++i) {
      text += fmt::format(" {:>{}}", cells[i], kWidths[i]);  // fmt pads by display width
    }
    text += '\n';
  };
  add(kColumns);
  for (const auto& line : lines_of(run)) {
    add(line);
  }
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

std::string html_of(const HeadsRun& run) {
  return report::page_of(
      fmt::format("Which heads of {} need far keys: {}", run.model.name, run.data.name),
      "Adaptive long-context heads (QAdA, arXiv 2502.09647): every row of every head decides "
      "whether the keys outside its window are needed. Point at a mark for its values.",
      pictures_of(run),
      "<h2>Figures</h2>\n" + html_table(run) + "<p class=\"caption\">" + svg::escaped(kUnits) +
          "</p>\n<h2>The run</h2>\n" + summary_of(run));
}

}  // namespace motet
