#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "motet/context/layout.h"
#include "motet/model/ablation.h"
#include "motet/model/decoder.h"
#include "motet/model/oracle.h"
#include "motet/reading/reading.h"

namespace motet {

/// One text, every mode: what PCE's figure 2 compares (arXiv 2412.16545, section 3).
struct CompareOptions {
  int64_t length = 4096;  ///< tokens of a segment
  int64_t scored = 1024;  ///< of them, at its end
  int64_t segments = 4;   ///< of the file, one after the other
  int64_t skip = 0;       ///< segments of the file that are left out before the first
  std::vector<int64_t> pieces{1, 2, 4, 8};  ///< degrees
  std::vector<int64_t> prefix;              ///< tokens of the shared prefix
  std::vector<int64_t> bos;                 ///< tokens before it and in every mode, `full` included
  int64_t select = 2;                       ///< K of `select` readings that name none
  /// Beside `all`, each of them without and with the prefix; as reading_named takes them.
  std::vector<std::string> readings{"select"};
  Positions positions = Positions::kSpread;  ///< of the pieces' tokens
  /// Modes `oracle` at every degree above 1, each without and with the prefix.
  std::vector<OracleOptions> oracles;
  Ablation ablation;          ///< of every mode
  bool diagnose = false;      ///< norms, cosines and scores of every mode
  std::vector<int64_t> rows;  ///< query rows whose attention itself is kept, from 0

  /// The tokens of a segment before its query.
  int64_t context() const { return length - scored - 1; }
  /// Throws Error naming the first option that cannot be: also a degree that the context cannot
  /// fill.
  void validate() const;
};

/// A mode of one degree.
struct CompareMode {
  std::string name;  ///< full, parallel, sink, selective, both, oracle, or that of another reading
  int64_t pieces = 1;                        ///< the degree P
  bool prefix = false;                       ///< whether pieces and query see the shared prefix
  int64_t selected = 0;                      ///< K; 0 where every piece is read
  std::shared_ptr<const Reading> reading;    ///< of the query
  std::optional<OracleOptions> oracle = {};  ///< what comes from a full run, if anything
};

/// A mode that cannot be, and why.
struct LeftOut {
  std::string mode;    ///< its name
  int64_t pieces = 1;  ///< the degree P
  std::string reason;  ///< with the numbers
};

/// What a run does with every segment.
struct ComparePlan {
  std::vector<CompareMode> modes;  ///< in the order in which they run
  std::vector<LeftOut> left_out;   ///< of the modes that were asked for
  double segment_flops = 0;  ///< of one segment, all modes: products of weights, scores and values
};

/// What will be run. Throws Error for options that cannot be, and where no mode is left.
ComparePlan plan_compare(const Config& config, const CompareOptions& options);

/// Some neighbouring tokens of a segment, in the prefix's absence counted from its start; none of
/// them are of two pieces, or of a piece and the query.
struct TextBin {
  int64_t first = 0;   ///< token of the segment
  int64_t tokens = 0;  ///< how many
  double entropy = 0;  ///< mean over layers, heads and these tokens, nats
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
  };
  // Means over places.
  std::vector<std::vector<double>> query_norm;  ///< |q|, [layers][heads]
  std::vector<std::vector<double>> key_norm;    ///< |k|, [layers][kv_heads]
  std::vector<std::vector<double>> value_norm;  ///< |v|, [layers][kv_heads]
  std::vector<std::vector<double>> cosine;      ///< q.k / (|q| |k|), [layers][heads]
  std::vector<std::vector<double>> abs_score;   ///< |scale q.k|, [layers][heads]
  std::vector<Place> places;                    ///< from the start of a piece to its end
};

/// Attention itself, of one query row: how much of the probability neighbouring tokens have, mean
/// over heads.
struct RowAttention {
  int64_t row = 0;                          ///< of the query, from 0
  std::vector<int64_t> edges;               ///< tokens of the segment, rising; what is before the
                                            ///< first (BOS and prefix) is the first bin
  std::vector<std::vector<double>> layers;  ///< [layers][bins], of 1 in all
};

/// The figures of one mode over one or more segments; `run.json` has the same names. Means are over
/// scored tokens, entropies and masses over layers, heads and query tokens, in nats.
struct CompareRow {
  std::string mode;           ///< as CompareMode::name
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
  std::optional<double> delta_nll;     ///< nll - that of `full`
  std::optional<double> delta_stderr;  ///< standard error of the paired difference
  std::optional<double> kl;            ///< mean KL(full || mode)
  std::optional<double> same_top1;     ///< share of tokens with the same most likely prediction
  double entropy_pce = 0;              ///< unweighted mean over forward calls, as the paper's code
  double entropy_tok = 0;              ///< mean over layers, heads and query tokens
  double entropy_between = 0;          ///< its part between prefix, pieces and own
  double entropy_within = 0;           ///< its part inside them
  double mass_prefix = 0;              ///< probability of the prefix
  double mass_own = 0;                 ///< of the query's own keys
  double mass_top_piece = 0;           ///< of the piece with the most
  std::vector<std::vector<double>> entropy_heads;  ///< [layers][heads]
  std::vector<TextBin> entropy_text;               ///< along the segment, context and query
  std::optional<Diagnosis> diagnosis;              ///< where it was asked for
  std::vector<RowAttention> attention;             ///< of the rows that were asked for
  double cost_ratio = 1;                           ///< as Layout::cost_ratio
  double encode_seconds = 0;                       ///< of prefix and pieces
  double read_seconds = 0;                         ///< of the query
  /// High-water mark of memory; nothing where the system does not tell.
  std::optional<int64_t> peak_bytes;
};

/// How a table or a picture names the row's mode: with the options of a reading that is not of the
/// named modes, and `+ prefix`.
std::string label_of(const CompareRow& row);

/// Told of every step of work, in FLOPs of those that ComparePlan::segment_flops counts. What it
/// throws ends the run.
using CompareProgress = std::function<void(double flops)>;

/// Tensors by their names, each row of every mode for itself. `SEGMENT/tokens` are the query's
/// tokens and `SEGMENT/targets` those that follow each of them, [rows], int64.
/// `SEGMENT/LABEL/P/nll` is [rows], float64; entropy, between, within, mass_prefix, mass_own and
/// mass_top_piece in place of nll are [layers, heads, rows], fp32. LABEL is that of label_of.
///
/// With CompareOptions::diagnose also query_norm, [layers, heads, rows], key_norm and value_norm,
/// [layers, kv_heads, places inside a piece], cosine and abs_score, [layers, heads, places]; and
/// for every R of CompareOptions::rows `probabilities_R`, [layers, heads, keys]. All fp32.
using CompareStatistics = std::map<std::string, torch::Tensor>;

/// Runs every mode of the plan on one segment: `tokens` are the segment's, `segment` its number in
/// the file. Adds to `statistics`, unless null.
std::vector<CompareRow> compare_segment(const Decoder& model, const std::vector<int64_t>& tokens,
                                        const CompareOptions& options, const ComparePlan& plan,
                                        int64_t segment, const CompareProgress& progress = {},
                                        CompareStatistics* statistics = nullptr);

/// Rows of single segments joined to one row a mode, in the order of their first appearance.
std::vector<CompareRow> over_segments(const std::vector<CompareRow>& segment_rows);

}  // namespace motet
