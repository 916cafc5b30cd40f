#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "motet/eval/fields.h"

namespace motet {

/// Mean entropy of neighbouring tokens, counted from the segment's start without the prefix. Never
/// crosses an edge of a piece or of the query.
struct TextBin {
  int64_t first = 0;   ///< token of the segment
  int64_t tokens = 0;  ///< how many
  double entropy = 0;  ///< mean over layers, heads and these tokens, nats

  /// In `run.json` the three are an array.
  template <class Visit>
  static void fields(Visit&& visit) {
    visit(figure::same("first", &TextBin::first));
    visit(figure::same("tokens", &TextBin::tokens));
    visit(figure::mean("entropy", &TextBin::entropy));
  }
};

/// Figures of DiagnosisProbe: means over query rows and pieces.
struct Diagnosis {
  /// Some neighbouring places inside a piece; means over layers and heads.
  struct Place {
    int64_t first = 0;      ///< counted from the start of the piece
    int64_t tokens = 0;     ///< how many
    double key_norm = 0;    ///< |k|
    double value_norm = 0;  ///< |v|
    double cosine = 0;      ///< q.k / (|q| |k|)
    double abs_score = 0;   ///< |scale q.k|

    template <class Visit>
    static void fields(Visit&& visit) {  ///< see fields.h
      visit(figure::same("first", &Place::first));
      visit(figure::same("tokens", &Place::tokens));
      visit(figure::mean("key_norm", &Place::key_norm));
      visit(figure::mean("value_norm", &Place::value_norm));
      visit(figure::mean("cosine", &Place::cosine));
      visit(figure::mean("abs_score", &Place::abs_score));
    }
  };
  // Means over places.
  std::vector<std::vector<double>> query_norm;  ///< |q|, [layers][heads]
  std::vector<std::vector<double>> key_norm;    ///< |k|, [layers][kv_heads]
  std::vector<std::vector<double>> value_norm;  ///< |v|, [layers][kv_heads]
  std::vector<std::vector<double>> cosine;      ///< q.k / (|q| |k|), [layers][heads]
  std::vector<std::vector<double>> abs_score;   ///< |scale q.k|, [layers][heads]
  std::vector<Place> places;                    ///< from the start of a piece to its end

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h
    visit(figure::mean("query_norm", &Diagnosis::query_norm));
    visit(figure::mean("key_norm", &Diagnosis::key_norm));
    visit(figure::mean("value_norm", &Diagnosis::value_norm));
    visit(figure::mean("cosine", &Diagnosis::cosine));
    visit(figure::mean("abs_score", &Diagnosis::abs_score));
    visit(figure::mean("places", &Diagnosis::places));
  }
};

/// Of ChoiceProbe: how the pieces that rows keep agree with an exact choice of as many. Means over
/// layers, heads and query rows.
struct ChoiceFigures {
  double recall = 0;  ///< share of the exactly chosen pieces that are kept
  double mass = 0;    ///< share of the pieces' mass, in ordinary reading, that is kept

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h
    visit(figure::mean("recall", &ChoiceFigures::recall));
    visit(figure::mean("mass", &ChoiceFigures::mass));
  }
};

/// Of NearKeysProbe: how many keys compete with the best one.
struct NearKeys {
  double gap = 0;   ///< nats
  double keys = 0;  ///< whose score is within it, mean over layers, heads and query rows

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h
    visit(figure::same("gap", &NearKeys::gap));
    visit(figure::mean("keys", &NearKeys::keys));
  }
};

/// Attention itself, of one query row: how much of the probability neighbouring tokens have, mean
/// over heads.
struct RowAttention {
  int64_t row = 0;                          ///< of the query, from 0
  std::vector<int64_t> edges;               ///< tokens of the segment, rising; what is before the
                                            ///< first (BOS and prefix) is the first bin
  std::vector<std::vector<double>> layers;  ///< [layers][bins], of 1 in all

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h
    visit(figure::same("row", &RowAttention::row));
    visit(figure::same("edges", &RowAttention::edges));
    visit(figure::mean("layers", &RowAttention::layers));
  }
};

/// The figures of one mode over one or more segments; `run.json` has the same names. Means are over
/// scored tokens, entropies and masses over layers, heads and query tokens, in nats.
struct CompareRow {
  static constexpr const char* kTask = "compare";  ///< the row's `task` in files

  std::string mode;           ///< as Mode::name
  std::string reading;        ///< with its options, as Reading::name; or what an oracle takes
  int64_t pieces = 1;         ///< the degree P
  int64_t prefix_tokens = 0;  ///< of the shared prefix
  int64_t selected = 0;       ///< K; 0 where every piece is read
  std::string positions;      ///< as name_of(Positions)
  int64_t segments = 1;       ///< that these figures are over
  int64_t tokens = 0;         ///< scored, in all
  /// Of the file, counted from its start; nothing for several segments.
  std::optional<int64_t> segment;
  double nll = 0;                    ///< mean over tokens, nats
  std::optional<double> nll_stderr;  ///< its standard error; nothing for a single token
  double perplexity = 0;             ///< exp(nll)
  // Against `full` on the same tokens; nothing where that was left out.
  std::optional<double> delta_nll;      ///< nll - that of `full`
  std::optional<double> delta_stderr;   ///< standard error of the paired difference
  std::optional<double> kl;             ///< mean KL(full || mode)
  std::optional<double> same_top1;      ///< share of tokens with the same most likely prediction
  double entropy_pce = 0;               ///< unweighted mean over forward calls, as the paper's code
  double entropy_tok = 0;               ///< mean over layers, heads and query tokens
  double entropy_between = 0;           ///< its part between prefix, pieces and own
  double entropy_within = 0;            ///< its part inside them
  double mass_prefix = 0;               ///< probability of the prefix
  double mass_own = 0;                  ///< of the query's own keys
  double mass_top_piece = 0;            ///< of the piece with the most
  std::optional<double> mass_null;      ///< of the null set, where the reading has one
  std::optional<ChoiceFigures> choice;  ///< where it was asked for and rows drop pieces
  std::optional<std::vector<NearKeys>> near_keys;  ///< of each gap, where some were asked for
  std::vector<std::vector<double>> entropy_heads;  ///< [layers][heads]
  std::vector<TextBin> entropy_text;               ///< along the segment, context and query
  std::optional<Diagnosis> diagnosis;              ///< where it was asked for
  std::vector<RowAttention> attention;             ///< of the rows that were asked for
  double cost_ratio = 1;                           ///< as Layout::cost_ratio
  double encode_seconds = 0;                       ///< of prefix and pieces
  double read_seconds = 0;                         ///< of the query
  /// High-water mark of memory; nothing where the system does not tell.
  std::optional<int64_t> peak_bytes;

  template <class Visit>
  static void fields(Visit&& visit) {  ///< see fields.h
    visit(figure::item("segment", &CompareRow::segment));
    visit(figure::key("mode", &CompareRow::mode));
    visit(figure::key("reading", &CompareRow::reading));
    visit(figure::key("pieces", &CompareRow::pieces));
    visit(figure::key("prefix_tokens", &CompareRow::prefix_tokens));
    visit(figure::same("selected", &CompareRow::selected));
    visit(figure::same("positions", &CompareRow::positions));
    visit(figure::sum("segments", &CompareRow::segments));
    visit(figure::sum("tokens", &CompareRow::tokens));
    visit(figure::mean("nll", &CompareRow::nll, "nll_stderr", &CompareRow::nll_stderr));
    visit(figure::derived("perplexity", &CompareRow::perplexity));
    visit(figure::mean("delta_nll", &CompareRow::delta_nll, "delta_stderr",
                       &CompareRow::delta_stderr));
    visit(figure::mean("kl", &CompareRow::kl));
    visit(figure::mean("same_top1", &CompareRow::same_top1));
    visit(figure::mean("entropy_pce", &CompareRow::entropy_pce));
    visit(figure::mean("entropy_tok", &CompareRow::entropy_tok));
    visit(figure::mean("entropy_between", &CompareRow::entropy_between));
    visit(figure::mean("entropy_within", &CompareRow::entropy_within));
    visit(figure::mean("mass_prefix", &CompareRow::mass_prefix));
    visit(figure::mean("mass_own", &CompareRow::mass_own));
    visit(figure::mean("mass_top_piece", &CompareRow::mass_top_piece));
    visit(figure::later(figure::mean("mass_null", &CompareRow::mass_null)));
    visit(figure::later(figure::mean("choice", &CompareRow::choice)));
    visit(figure::later(figure::mean("near_keys", &CompareRow::near_keys)));
    visit(figure::mean("entropy_heads", &CompareRow::entropy_heads));
    visit(figure::mean("entropy_text", &CompareRow::entropy_text));
    visit(figure::mean("diagnosis", &CompareRow::diagnosis));
    visit(figure::mean("attention", &CompareRow::attention));
    visit(figure::mean("cost_ratio", &CompareRow::cost_ratio));
    visit(figure::sum("encode_seconds", &CompareRow::encode_seconds));
    visit(figure::sum("read_seconds", &CompareRow::read_seconds));
    visit(figure::largest("peak_bytes", &CompareRow::peak_bytes));
  }
  void derive() { perplexity = std::exp(nll); }  ///< figures that follow from others
};

/// How a table or a picture names the row's mode: with the options of a reading that is not of the
/// named modes, and `+ prefix`.
std::string label_of(const CompareRow& row);

/// Rows of single segments joined to one row a mode, in the order of their first appearance.
std::vector<CompareRow> over_segments(const std::vector<CompareRow>& segment_rows);

}  // namespace motet
