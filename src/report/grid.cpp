#include "report/grid.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>

#include "motet/error.h"
#include "report/svg.h"

namespace motet::report {
namespace {

std::string line_of(const std::vector<std::string>& cells, std::string_view separator) {
  return fmt::format("{}", fmt::join(cells, separator));
}

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

std::string latex(const std::string& text) {
  std::string out;
  for (const char byte : text) {
    switch (byte) {
      case '&':
      case '%':
      case '#':
      case '_':
      case '$':
      case '{':
      case '}':
        out += std::string("\\") + byte;
        break;
      case '~':
        out += "\\textasciitilde{}";
        break;
      case '^':
        out += "\\textasciicircum{}";
        break;
      case '\\':
        out += "\\textbackslash{}";
        break;
      case '<':
        out += "\\textless{}";
        break;
      case '>':
        out += "\\textgreater{}";
        break;
      default:
        out += byte;
    }
  }
  return replaced(replaced(out, "Δ", "$\\Delta$"), "±", "$\\pm$");
}

/// How many characters a UTF-8 text has.
std::size_t characters(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char byte) {
    return (static_cast<unsigned char>(byte) & 0xC0U) != 0x80;
  }));
}

std::string quoted(const std::string& text) {
  return text.find_first_of(",\"\n") == std::string::npos
             ? text
             : fmt::format("\"{}\"", replaced(text, "\"", "\"\""));
}

}  // namespace

std::vector<std::string> told_apart(std::vector<std::string> names) {
  const auto given = names;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (std::count(given.begin(), given.end(), given[i]) > 1) {
      names[i] += fmt::format(" (run {})", i + 1);
    }
  }
  return names;
}

Grid joined(const std::vector<Grid>& grids, const std::vector<std::string>& runs) {
  require(!grids.empty(), "motet: a table of no run");
  Grid all{grids[0].columns, {}, grids[0].words};
  const bool several = grids.size() > 1;
  if (several) {
    all.columns.insert(all.columns.begin(), "run");
    ++all.words;
  }
  for (std::size_t i = 0; i < grids.size(); ++i) {
    for (auto row : grids[i].rows) {
      if (several) {
        row.insert(row.begin(), runs.at(i));
      }
      all.rows.push_back(std::move(row));
    }
  }
  return all;
}

std::string text_of(const Grid& grid) {
  std::vector<std::size_t> widths(grid.columns.size());
  const auto widen = [&](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) {
      widths[i] = std::max(widths[i], characters(cells[i]));
    }
  };
  widen(grid.columns);
  std::for_each(grid.rows.begin(), grid.rows.end(), widen);
  std::string text;
  const auto add = [&](const std::vector<std::string>& cells) {
    text += fmt::format("{:<{}}", cells[0], widths[0]);
    for (std::size_t i = 1; i < cells.size(); ++i) {
      text += fmt::format("  {:>{}}", cells[i], widths[i]);  // fmt pads by display width
    }
    text += '\n';
  };
  add(grid.columns);
  std::for_each(grid.rows.begin(), grid.rows.end(), add);
  return text;
}

std::string markdown_of(const Grid& grid) {
  auto text = fmt::format("| {} |\n|", line_of(grid.columns, " | "));
  for (std::size_t i = 0; i < grid.columns.size(); ++i) {
    text += i < grid.words ? "---|" : "--:|";
  }
  text += '\n';
  for (const auto& row : grid.rows) {
    text += fmt::format("| {} |\n", line_of(row, " | "));
  }
  return text;
}

std::string latex_of(const Grid& grid) {
  auto text = "\\begin{tabular}{" + std::string(grid.words, 'l') +
              std::string(grid.columns.size() - grid.words, 'r') + "}\n\\toprule\n";
  const auto add = [&](const std::vector<std::string>& cells) {
    text += latex(line_of(cells, "\t"));
    text = replaced(text, "\t", " & ") + " \\\\\n";
  };
  add(grid.columns);
  text += "\\midrule\n";
  std::for_each(grid.rows.begin(), grid.rows.end(), add);
  return text + "\\bottomrule\n\\end{tabular}\n";
}

std::string html_of(const Grid& grid) {
  std::string text = "<table>\n<thead><tr>";
  const auto of_word = [&](std::size_t i) { return i < grid.words ? " class=\"word\"" : ""; };
  for (std::size_t i = 0; i < grid.columns.size(); ++i) {
    text += fmt::format("<th{}>{}</th>", of_word(i), svg::escaped(grid.columns[i]));
  }
  text += "</tr></thead>\n<tbody>\n";
  for (const auto& row : grid.rows) {
    text += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += fmt::format("<td{}>{}</td>", of_word(i), svg::escaped(row[i]));
    }
    text += "</tr>\n";
  }
  return text + "</tbody>\n</table>\n";
}

std::string csv_of(const std::vector<Grid>& grids) {
  std::string text;
  const auto add = [&](std::vector<std::string> cells) {
    std::transform(cells.begin(), cells.end(), cells.begin(), quoted);
    text += line_of(cells, ",") + "\n";
  };
  for (const auto& grid : grids) {
    if (text.empty() && !grid.rows.empty()) {
      add(grid.columns);
    }
    std::for_each(grid.rows.begin(), grid.rows.end(), add);
  }
  return text;
}

}  // namespace motet::report
