#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "motet/context/encoded_context.h"
#include "motet/eval/heads_row.h"
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
  /// Throws FieldError naming the first option that cannot be.
  void validate() const;
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

/// The smallest tau with which `adaptive` costs no more than `loss` nats a token against full
/// attention on these tokens, the last `query` of which are scored; to within 0.1 of log odds.
/// Reads the query about ten times.
double tau_for_loss(const Decoder& model, const std::vector<int64_t>& tokens, int64_t query,
                    double loss, const Window& window = {},
                    Covariance covariance = Covariance::kFull, const Ablation& ablation = {});

}  // namespace motet
