#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "motet/eval/fields.h"

namespace motet {

using HeadTable = std::vector<std::vector<double>>;  ///< [layers][heads]

/// One method at one tau over one or more segments. Shares are of all (layer, head, query row),
/// losses and entropies in nats a token.
struct HeadsRow {
  std::string method;                  ///< as in HeadsOptions::methods
  double tau = 0;                      ///< the share of mass that suffices
  std::optional<int64_t> segment;      ///< of the file; nothing for several segments
  int64_t segments = 1;                ///< that these figures are of
  int64_t tokens = 0;                  ///< scored in all
  double local_share = 0;              ///< decisions for the window alone
  double nll = 0;                      ///< mean over scored tokens
  std::optional<double> nll_stderr;    ///< its standard error
  double delta_nll = 0;                ///< against full attention, on the same tokens
  std::optional<double> delta_stderr;  ///< its standard error, of paired differences
  double entropy_tok = 0;              ///< mean over layers, heads and query tokens
  double false_local = 0;              ///< local, but long by the oracle of the same pass
  double false_long = 0;               ///< the reverse
  double log_mass_error = 0;  ///< mean |ln A_B_hat - ln A_B|, nats, of the closed form in this pass
  double read_share = 0;      ///< of the memory of keys and values that dense decoding reads
  HeadTable long_share;       ///< how often each head is long
  HeadTable oracle_long;      ///< by the oracle
  HeadTable switching;        ///< how often it decides otherwise than for the token before
  HeadTable false_local_heads;  ///< `false_local`, head by head
  HeadTable false_long_heads;   ///< `false_long`, head by head

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h
    visit(figure::item("segment", &HeadsRow::segment));
    visit(figure::key("method", &HeadsRow::method));
    visit(figure::key("tau", &HeadsRow::tau));
    visit(figure::sum("segments", &HeadsRow::segments));
    visit(figure::sum("tokens", &HeadsRow::tokens));
    visit(figure::mean("local_share", &HeadsRow::local_share));
    visit(figure::mean("nll", &HeadsRow::nll, "nll_stderr", &HeadsRow::nll_stderr));
    visit(figure::mean("delta_nll", &HeadsRow::delta_nll, "delta_stderr", &HeadsRow::delta_stderr));
    visit(figure::mean("entropy_tok", &HeadsRow::entropy_tok));
    visit(figure::mean("false_local", &HeadsRow::false_local));
    visit(figure::mean("false_long", &HeadsRow::false_long));
    visit(figure::mean("log_mass_error", &HeadsRow::log_mass_error));
    visit(figure::mean("read_share", &HeadsRow::read_share));
    visit(figure::mean("long_share", &HeadsRow::long_share));
    visit(figure::mean("oracle_long", &HeadsRow::oracle_long));
    visit(figure::mean("switching", &HeadsRow::switching));
    visit(figure::mean("false_local_heads", &HeadsRow::false_local_heads));
    visit(figure::mean("false_long_heads", &HeadsRow::false_long_heads));
  }
};

/// What full attention, and parallel reading beside it, say of the same segments.
struct HeadsFull {
  static constexpr int64_t kBins = 48;      ///< of each side of the map of margins
  static constexpr double kMargins = 12.0;  ///< nats, that it covers to either side; the outermost
                                            ///< bins hold what is farther out
  std::optional<int64_t> segment;           ///< of the file; nothing for several segments
  int64_t segments = 1;                     ///< that these figures are of
  int64_t tokens = 0;                       ///< scored in all
  double nll = 0;                           ///< mean over scored tokens, nats
  std::optional<double> nll_stderr;         ///< its standard error
  double entropy_tok = 0;                   ///< mean over layers, heads and query tokens, nats
  HeadTable entropy_heads;                  ///< nats
  int64_t pieces = 0;                       ///< of the parallel reading
  double parallel_nll = 0;                  ///< of the parallel reading, nats
  HeadTable parallel_entropy;               ///< nats
  HeadTable error;                          ///< mean of ln A_B_hat - ln A_B, nats
  HeadTable absolute_error;                 ///< mean of its absolute value
  HeadTable distance;                       ///< of scores from a normal distribution (GaussianFit)
  std::vector<HeadTable> histogram;         ///< [layers][heads][GaussianFit::kBins]
  HeadTable margins;  ///< shares of rows: ln A_W - ln A_B, down, by ln A_W - ln A_B_hat, across

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h
    visit(figure::item("segment", &HeadsFull::segment));
    visit(figure::sum("segments", &HeadsFull::segments));
    visit(figure::sum("tokens", &HeadsFull::tokens));
    visit(figure::mean("nll", &HeadsFull::nll, "nll_stderr", &HeadsFull::nll_stderr));
    visit(figure::mean("entropy_tok", &HeadsFull::entropy_tok));
    visit(figure::mean("entropy_heads", &HeadsFull::entropy_heads));
    visit(figure::same("pieces", &HeadsFull::pieces));
    visit(figure::mean("parallel_nll", &HeadsFull::parallel_nll));
    visit(figure::mean("parallel_entropy", &HeadsFull::parallel_entropy));
    visit(figure::mean("error", &HeadsFull::error));
    visit(figure::mean("absolute_error", &HeadsFull::absolute_error));
    visit(figure::mean("distance", &HeadsFull::distance));
    visit(figure::mean("histogram", &HeadsFull::histogram));
    visit(figure::mean("margins", &HeadsFull::margins));
  }
};

/// Rows of single segments joined to one a method and tau, in the order of their first appearance.
std::vector<HeadsRow> over_segments(const std::vector<HeadsRow>& rows);
/// The same of full attention. Throws Error for no segment.
HeadsFull over_segments(const std::vector<HeadsFull>& full);

}  // namespace motet
