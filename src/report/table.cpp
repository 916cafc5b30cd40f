#include "motet/report/table.h"

#include <fmt/format.h>

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

}  // namespace

std::string table_of(const Run& run) {
  constexpr const char* kLine =
      "{:<10} {:>3} {:>7} {:>8} {:>7} {:>6} {:>6} {:>7} {:>7} {:>7} {:>6} {:>5} {:>6}\n";
  auto table = fmt::format(fmt::runtime(kLine), "mode", "P", "nll", "ppl", "Δnll", "±", "KL",
                           "entropy", "between", "within", "prefix", "own", "cost");
  // fmt pads by display width, so Δ and ± need no care
  for (const auto& row : over_segments(run.segment_rows)) {
    table += fmt::format(
        fmt::runtime(kLine), row.mode, row.pieces, fmt::format("{:.3f}", row.nll),
        perplexity(row.perplexity), cell(row.delta_nll, "{:+.3f}"),
        cell(row.delta_stderr, "{:.3f}"), cell(row.kl, "{:.3f}"),
        fmt::format("{:.3f}", row.entropy_tok), fmt::format("{:.3f}", row.entropy_between),
        fmt::format("{:.3f}", row.entropy_within), fmt::format("{:.2f}", row.mass_prefix),
        fmt::format("{:.2f}", row.mass_own), fmt::format("{:.3f}", row.cost_ratio));
  }
  return table +
         "nll, Δnll (against full, ± its standard error) and KL(full || mode) in nats a token; "
         "entropy of\nattention in nats, mean over layers, heads and query tokens, = between the "
         "sets (prefix, pieces,\nown) + within them; prefix, own: probability; cost: of attention "
         "inside the pieces, P = 1 is 1.\n";
}

}  // namespace motet
