#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "motet/context/encoded_context.h"
#include "motet/eval/run.h"
#include "motet/heads/calibration.h"
#include "motet/model/ablation.h"
#include "motet/model/decoder.h"

namespace motet {

/// Which heads need keys that are far away, and what it costs to leave those out: QAdA, arXiv
/// 2502.09647; see docs/heads.md. Segments as in CompareOptions; the context is encoded in full.
struct HeadsOptions {
  int64_t length = 4096;  ///< tokens of a segment
  int64_t scored = 1024;  ///< of them, at its end
  int64_t segments = 4;   ///< of the file, one after the other
  int64_t skip = 0;       ///< segments of the file that are left out before the first
  std::vector<double> tau{0.6, 0.8, 0.9, 0.95, 0.99};  ///< shares of mass that suffice
  /// Of adaptive, oracle, static, random and pattern; adaptive first where static or random are
  /// run.
  std::vector<std::string> methods{"adaptive", "oracle", "static", "random"};
  Covariance covariance = Covariance::kFull;  ///< of the estimate
  Window window;                              ///< that every row reads
  int64_t pieces = 8;  ///< of the parallel reading whose entropies are set beside those in full
  int64_t seed = 0;    ///< of random heads
  std::optional<torch::Tensor> pattern;  ///< of the method `pattern`: bool, [layers, heads]
  Ablation ablation;                     ///< of every reading, those in full and in parallel, too

  /// The tokens of a segment before its query.
  int64_t context() const { return length - scored - 1; }
  /// Throws Error naming the first option that cannot be.
  void validate() const;
};

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
};

/// Everything that motet-heads leaves behind.
struct HeadsRun {
  static constexpr int64_t kSchema = 2;  ///< the version of the document

  std::vector<std::string> command;     ///< as typed, word by word
  std::string version;                  ///< of the library
  std::string revision;                 ///< of the library, see version.h
  Source model;                         ///< what was run
  Source data;                          ///< the text
  int64_t data_tokens = 0;              ///< of the whole text
  HeadsOptions options;                 ///< the configuration
  Source calibration;                   ///< the text behind `static`; empty where none was read
  std::string dtype;                    ///< "float32" or "bfloat16"
  std::string device;                   ///< "cpu" or "cuda"
  std::string kernel;                   ///< what computed rows, see kernel.h
  int64_t threads = 0;                  ///< of LibTorch
  std::vector<HeadsFull> segment_full;  ///< of each segment that was begun
  std::vector<HeadsRow> segment_rows;   ///< of each segment, method and tau that is done

  /// Whether every segment has every method at every tau.
  bool complete() const;
};

/// Every figure of single rows: `nll` and, in full attention, `full_nll`, [rows], float64; `local`,
/// bool, `window`, `bulk`, `estimate` (ln A_W, ln A_B, ln A_B_hat) and `entropy`, [layers, heads,
/// rows].
using HeadsStatistics = std::map<std::string, torch::Tensor>;

/// Told of every step of work, in layers of tokens of those that `segment_work` counts. What it
/// throws ends the run.
using HeadsProgress = std::function<void(double work)>;
/// What one segment takes with so many methods and tau to run, in layers of tokens.
double segment_work(const Config& config, const HeadsOptions& options, std::size_t rows);

/// One segment: encoded once, read by every method.
class HeadsSegment {
 public:
  /// `tokens` are the segment's, `segment` its number in the file; model and options outlive it.
  /// Encodes the context, and reads it in full and in parallel.
  HeadsSegment(const Decoder& model, const std::vector<int64_t>& tokens,
               const HeadsOptions& options, int64_t segment, const HeadsProgress& progress = {});

  const HeadsFull& full() const { return full_; }  ///< full attention, and parallel reading
  /// A method at one tau. `local_share` is that of adaptive at the same tau, for static and random;
  /// `calibration` is for static.
  HeadsRow row(const std::string& method, double tau, std::optional<double> local_share,
               const HeadCalibration* calibration, HeadsStatistics* statistics = nullptr);

 private:
  class Progress;

  const Decoder& model_;
  const HeadsOptions& options_;
  int64_t segment_;
  HeadsProgress progress_;
  std::vector<int64_t> query_, targets_;
  EncodedContext context_;
  torch::Tensor full_nll_;  // [rows]
  HeadsFull full_;
};

/// Rows of single segments joined to one a method and tau, in the order of their first appearance.
std::vector<HeadsRow> over_segments(const std::vector<HeadsRow>& rows);
/// The same of full attention.
HeadsFull over_segments(const std::vector<HeadsFull>& full);

/// The smallest tau with which `adaptive` costs no more than `loss` nats a token against full
/// attention on these tokens, the last `query` of which are scored; to within 0.1 of log odds.
/// Reads the query about ten times.
double tau_for_loss(const Decoder& model, const std::vector<int64_t>& tokens, int64_t query,
                    double loss, const Window& window = {},
                    Covariance covariance = Covariance::kFull, const Ablation& ablation = {});

}  // namespace motet
