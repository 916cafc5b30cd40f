#include "motet/report/table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "motet/error.h"
#include "motet/report/json.h"
#include "report/svg.h"

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

struct Table {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

Table cells_of(const std::vector<Run>& runs) {
  require(!runs.empty(), "motet: a table of no run");
  Table table{kColumns, {}};
  for (const auto& run : runs) {
    for (const auto& row : over_segments(run.segment_rows)) {
      table.rows.push_back(cells_of(row));
      if (runs.size() > 1) {
        auto& cells = table.rows.back();
        cells.insert(cells.begin(), fmt::format("{}, {}", run.model.name, run.data.name));
      }
    }
  }
  if (runs.size() > 1) {
    table.columns.insert(table.columns.begin(), "run");
  }
  return table;
}

std::string joined(const std::vector<std::string>& cells, std::string_view separator) {
  return fmt::format("{}", fmt::join(cells, separator));
}

/// The columns with words, at the left of a line; the others are numbers.
std::size_t words_of(const Table& table) { return table.columns.size() - kColumns.size() + 1; }

std::string replaced(std::string text, std::string_view what, std::string_view by) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

std::string latex(std::string text) {
  for (const auto* special : {"&", "%", "#", "_"}) {
    text = replaced(text, special, fmt::format("\\{}", special));
  }
  return replaced(replaced(text, "Δ", "$\\Delta$"), "±", "$\\pm$");
}

std::string quoted(const std::string& text) {
  return text.find_first_of(",\"\n") == std::string::npos
             ? text
             : fmt::format("\"{}\"", replaced(text, "\"", "\"\""));
}

}  // namespace

std::string table_of(const Run& run) {
  const auto table = cells_of({run});
  std::vector<std::size_t> widths{10, 3, 7, 8, 7, 6, 6, 7, 7, 7, 6, 5, 6};
  for (const auto& row : table.rows) {
    widths[0] = std::max(widths[0], row[0].size());
  }
  std::string text;
  const auto add = [&](const std::vector<std::string>& cells) {
    text += fmt::format("{:<{}}", cells[0], widths[0]);
    for (std::size_t i = 1; i < cells.size(); ++i) {
      text += fmt::format(" {:>{}}", cells[i], widths[i]);  // fmt pads by display width
    }
    text += '\n';
  };
  add(table.columns);
  std::for_each(table.rows.begin(), table.rows.end(), add);
  return text +
         "nll, Δnll (against full, ± its standard error) and KL(full || mode) in nats a token; "
         "entropy of\nattention in nats, mean over layers, heads and query tokens, = between the "
         "sets (prefix, pieces,\nown) + within them; prefix, own: probability; cost: of attention "
         "inside the pieces, P = 1 is 1.\n";
}

std::string markdown_of(const std::vector<Run>& runs) {
  const auto table = cells_of(runs);
  auto text = fmt::format("| {} |\n|", joined(table.columns, " | "));
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    text += i < words_of(table) ? "---|" : "--:|";
  }
  text += '\n';
  for (const auto& row : table.rows) {
    text += fmt::format("| {} |\n", joined(row, " | "));
  }
  return text;
}

std::string latex_of(const std::vector<Run>& runs) {
  const auto table = cells_of(runs);
  const auto words = words_of(table);
  auto text = "\\begin{tabular}{" + std::string(words, 'l') +
              std::string(table.columns.size() - words, 'r') + "}\n\\toprule\n";
  const auto add = [&](const std::vector<std::string>& cells) {
    text += latex(joined(cells, "\t"));
    text = replaced(text, "\t", " & ") + " \\\\\n";
  };
  add(table.columns);
  text += "\\midrule\n";
  std::for_each(table.rows.begin(), table.rows.end(), add);
  return text + "\\bottomrule\n\\end{tabular}\n";
}

std::string html_table_of(const std::vector<Run>& runs) {
  const auto table = cells_of(runs);
  std::string text = "<table>\n<thead><tr>";
  for (const auto& column : table.columns) {
    text += "<th>" + svg::escaped(column) + "</th>";
  }
  text += "</tr></thead>\n<tbody>\n";
  for (const auto& row : table.rows) {
    text += "<tr>";
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += fmt::format("<td{}>{}</td>", i < words_of(table) ? " class=\"word\"" : "",
                          svg::escaped(row[i]));
    }
    text += "</tr>\n";
  }
  return text + "</tbody>\n</table>\n";
}

std::string csv_of(const std::vector<Run>& runs) {
  std::string text;
  for (const auto& run : runs) {
    const auto document = json_of(run);
    for (const auto& row : document.at("rows")) {
      std::vector<std::string> names{"model", "data"};
      std::vector<std::string> cells{quoted(run.model.name), quoted(run.data.name)};
      for (const auto& [name, value] : row.items()) {
        if (value.is_structured() || name == "diagnosis") {
          continue;
        }
        names.push_back(name);
        cells.push_back(value.is_null()     ? ""
                        : value.is_string() ? quoted(value.get<std::string>())
                                            : value.dump());
      }
      if (text.empty()) {
        text = joined(names, ",") + "\n";
      }
      text += joined(cells, ",") + "\n";
    }
  }
  return text;
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
