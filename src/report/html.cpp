#include "motet/report/html.h"

#include <fmt/format.h>

#include "motet/error.h"
#include "motet/report/picture.h"
#include "motet/report/table.h"
#include "report/page.h"
#include "report/svg.h"

namespace motet {
namespace {

std::string summary_of(const CompareRun& run) {
  const auto& options = run.options;
  report::Summary summary;
  const auto add = [&](std::string_view name, const std::string& value) {
    summary.add(name, value);
  };
  add("model", run.provenance.model.name);
  add("text", fmt::format("{}, {} tokens", run.provenance.data.name, run.provenance.data_tokens));
  add("segments",
      fmt::format(
          "{} of {} tokens, {} scored{}", options.segments, options.length, options.scored,
          run.complete() ? "" : fmt::format("; {} done so far", run.segments_done().size())));
  add("positions", std::string(name_of(options.positions)));
  for (const auto& left_out : run.left_out) {
    add("left out", fmt::format("{}, P = {}: {}", left_out.mode, left_out.pieces, left_out.reason));
  }
  summary.add_provenance(run.provenance);
  return summary.html();
}

}  // namespace

std::string html_of(const std::vector<CompareRun>& runs) {
  const auto pictures = pictures_of(runs);
  const auto title = runs.size() == 1 ? fmt::format("{} reads {}", runs[0].provenance.model.name,
                                                    runs[0].provenance.data.name)
                                      : fmt::format("{} runs compared", runs.size());
  std::string rest =
      "<h2>Figures</h2>\n" + html_table_of(runs) +
      "<p class=\"caption\">nll, Δnll (against full, ± its standard error) and KL(full || mode) in "
      "nats a token; entropy of attention in nats = between the sets + within them; prefix, own: "
      "probability; cost: of attention inside the pieces, P = 1 is 1.</p>\n";
  for (const auto& run : runs) {
    rest += "<h2>" +
            std::string(runs.size() == 1 ? "The run" : svg::escaped(run.provenance.data.name)) +
            "</h2>\n" + summary_of(run);
  }
  return report::page_of(
      title,
      "Parallel context encoding: what it costs in perplexity, and what it does to attention "
      "entropy. Point at a mark for its values.",
      pictures, rest);
}

}  // namespace motet
