#include "motet/report/html.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "motet/error.h"
#include "motet/report/picture.h"
#include "motet/report/table.h"
#include "report/svg.h"

namespace motet {
namespace {

constexpr const char* kStyle = R"(
body { font: 15px/1.45 Helvetica, Arial, "DejaVu Sans", sans-serif; color: #111; background: #fff;
       max-width: 1160px; margin: 28px auto 60px; padding: 0 24px; }
h1 { font-size: 24px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 44px 0 10px; }
svg { width: 100%; height: auto; display: block; }
p.caption, p.note { color: #444; margin: 8px 0 0; max-width: 900px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 9px; text-align: right; }
th { border-bottom: 1px solid #111; font-weight: 600; }
td.word, th:first-child { text-align: left; }
tbody tr:hover { background: #f2f2f2; }
dl { display: grid; grid-template-columns: max-content auto; gap: 2px 14px; font-size: 13px; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: 12px; }
)";

std::string summary_of(const Run& run) {
  const auto& options = run.options;
  std::string text = "<dl>\n";
  const auto add = [&](std::string_view name, const std::string& value) {
    text += fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, svg::escaped(value));
  };
  add("model", run.model.name);
  add("text", fmt::format("{}, {} tokens", run.data.name, run.data_tokens));
  add("segments",
      fmt::format(
          "{} of {} tokens, {} scored{}", options.segments, options.length, options.scored,
          run.complete() ? "" : fmt::format("; {} done so far", run.segments_done().size())));
  add("positions", std::string(name_of(options.positions)));
  add("numbers",
      fmt::format("{}, {} threads, {}, kernel {}", run.dtype, run.threads, run.device, run.kernel));
  add("motet", fmt::format("{} ({})", run.version, run.revision));
  for (const auto& left_out : run.left_out) {
    add("left out", fmt::format("{}, P = {}: {}", left_out.mode, left_out.pieces, left_out.reason));
  }
  text += "<dt>command</dt><dd><code>" +
          svg::escaped(fmt::format("{}", fmt::join(run.command, " "))) + "</code></dd>\n";
  return text + "</dl>\n";
}

}  // namespace

std::string html_of(const std::vector<Run>& runs) {
  const auto pictures = pictures_of(runs);
  const auto title = runs.size() == 1
                         ? fmt::format("{} reads {}", runs[0].model.name, runs[0].data.name)
                         : fmt::format("{} runs compared", runs.size());
  auto page = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title>\n"
      "<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n"
      "<p class=\"note\">Parallel context encoding: what it costs in perplexity, and what it does "
      "to "
      "attention entropy. Point at a mark for its values.</p>\n",
      svg::escaped(title), kStyle);
  for (const auto& picture : pictures) {
    page += fmt::format("<h2>{}</h2>\n{}<p class=\"caption\">{}</p>\n", svg::escaped(picture.title),
                        picture.svg, svg::escaped(picture.caption));
  }
  page +=
      "<h2>Figures</h2>\n" + html_table_of(runs) +
      "<p class=\"caption\">nll, Δnll (against full, ± its standard error) and KL(full || mode) in "
      "nats a token; entropy of attention in nats = between the sets + within them; prefix, own: "
      "probability; cost: of attention inside the pieces, P = 1 is 1.</p>\n";
  for (const auto& run : runs) {
    page += "<h2>" + std::string(runs.size() == 1 ? "The run" : svg::escaped(run.data.name)) +
            "</h2>\n" + summary_of(run);
  }
  return page + "</body>\n</html>\n";
}

}  // namespace motet
