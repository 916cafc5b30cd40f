#include "report/page.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "report/svg.h"

namespace motet::report {
namespace {

constexpr const char* kStyle = R"(
body { font: 15px/1.45 Helvetica, Arial, "DejaVu Sans", sans-serif; color: #111; background: #fff;
       max-width: 1160px; margin: 28px auto 60px; padding: 0 24px; }
h1 { font-size: 24px; margin: 0 0 4px; }
h2 { font-size: 18px; margin: 44px 0 10px; }
h3 { font-size: 15px; margin: 22px 0 6px; }
svg { width: 100%; height: auto; display: block; }
p.caption, p.note { color: #444; margin: 8px 0 0; max-width: 900px; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 9px; text-align: right; }
th { border-bottom: 1px solid #111; font-weight: 600; }
td.word, th.word, th:first-child { text-align: left; }
tbody tr:hover { background: #f2f2f2; }
dl { display: grid; grid-template-columns: max-content auto; gap: 2px 14px; font-size: 13px; }
dt { color: #555; } dd { margin: 0; overflow-wrap: anywhere; }
code { font-size: 12px; }
)";

}  // namespace

void Summary::add(std::string_view term, const std::string& text) {
  lines_ += fmt::format("<dt>{}</dt><dd>{}</dd>\n", term, svg::escaped(text));
}

void Summary::add_provenance(const Provenance& provenance) {
  add("numbers",
      fmt::format("{}, {} {}, {}, kernel {}, products {}, seed {}", provenance.dtype,
                  provenance.threads, provenance.threads == 1 ? "thread" : "threads",
                  provenance.device, provenance.kernel, provenance.products, provenance.seed));
  add("motet", fmt::format("{} ({})", provenance.version, provenance.revision));
  lines_ += "<dt>command</dt><dd><code>" +
            svg::escaped(fmt::format("{}", fmt::join(provenance.command, " "))) + "</code></dd>\n";
}

std::string Summary::html() const { return "<dl>\n" + lines_ + "</dl>\n"; }

std::string scrolling(const std::string& table) {
  return "<div style=\"overflow-x: auto; white-space: nowrap\">\n" + table + "</div>\n";
}

std::string page_of(const std::string& title, const std::string& note,
                    const std::vector<Picture>& pictures, const std::string& rest) {
  auto page = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title>\n"
      "<style>{1}</style>\n</head>\n<body>\n<h1>{0}</h1>\n"
      "<p class=\"note\">{2}</p>\n",
      svg::escaped(title), kStyle, svg::escaped(note));
  for (const auto& picture : pictures) {
    page += fmt::format("<h2>{}</h2>\n{}<p class=\"caption\">{}</p>\n", svg::escaped(picture.title),
                        picture.svg, svg::escaped(picture.caption));
  }
  return page + rest + "</body>\n</html>\n";
}

}  // namespace motet::report
