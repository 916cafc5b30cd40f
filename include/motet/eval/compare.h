#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "motet/context/layout.h"
#include "motet/eval/compare_row.h"
#include "motet/eval/mode.h"
#include "motet/model/ablation.h"
#include "motet/model/decoder.h"
#include "motet/model/oracle.h"

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
  /// Modes `ensemble` at every degree above 1, each without and with the prefix; entropies and
  /// masses are means over members, which have no diagnosis and no rows of their own.
  std::vector<Ensemble> ensembles;
  Ablation ablation;          ///< of every mode
  bool diagnose = false;      ///< norms, cosines and scores of every mode
  bool recall = false;        ///< how pieces that rows keep agree with an exact choice
  std::vector<double> gaps;   ///< nats: how many keys are as near as that to a row's best
  std::vector<int64_t> rows;  ///< query rows whose attention itself is kept, from 0

  /// The tokens of a segment before its query.
  int64_t context() const { return length - scored - 1; }
  /// Throws FieldError naming the first option that cannot be: also a degree that the context
  /// cannot fill.
  void validate() const;
};

/// What a run does with every segment.
struct ComparePlan {
  std::vector<Mode> modes;        ///< in the order in which they run
  std::vector<LeftOut> left_out;  ///< of the modes that were asked for
  double segment_flops = 0;  ///< of one segment, all modes: products of weights, scores and values
};

/// What will be run. Throws Error for options that cannot be, for a reading of another model
/// (Reading::check), and where no mode is left.
ComparePlan plan_compare(const Config& config, const CompareOptions& options);

/// Told of every step of work, in FLOPs of those that ComparePlan::segment_flops counts. What it
/// throws ends the run.
using CompareProgress = std::function<void(double flops)>;

/// Tensors by their names, each row of every mode for itself. `SEGMENT/tokens` are the query's
/// tokens and `SEGMENT/targets` those that follow each of them, [rows], int64.
/// `SEGMENT/LABEL/P/nll` is [rows], float64; entropy, between, within, mass_prefix, mass_own and
/// mass_top_piece in place of nll are [layers, heads, rows], fp32; of an ensemble the rows of its
/// members, one after the other. LABEL is that of label_of.
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

}  // namespace motet
