#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "motet/attention/key_moments.h"
#include "motet/context/window.h"
#include "motet/model/ablation.h"
#include "motet/model/decoder.h"

namespace motet {

/// The threshold of the test of `adaptive`, ln(tau / (1 - tau)): -inf for 0, inf for 1.
double log_odds(double tau);

/// Margins of the query rows of a text that is read in full, [layers, heads, rows], nats.
struct Margins {
  torch::Tensor oracle;     ///< ln A_W - ln A_B
  torch::Tensor estimated;  ///< ln A_W - ln A_B_hat
};

/// Reads `tokens` in full: the last `query` of them against those before. Throws Error where the
/// context leaves no bulk beside the window.
Margins read_margins(const Decoder& model, const std::vector<int64_t>& tokens, int64_t query,
                     const Window& window = {}, Covariance covariance = Covariance::kFull,
                     const Ablation& ablation = {});

/// The tau with which so large a share of these margins is local, up to ties.
double tau_for_share(const torch::Tensor& margins, double share);

/// How often each head is long on a text, by the oracle: what a static pattern is made from.
struct HeadCalibration {
  std::string text;                       ///< its name
  std::string hash;                       ///< its SHA-256
  int64_t tokens = 0;                     ///< of it that were read
  Window window;                          ///< that every row read
  std::vector<double> tau;                ///< as it was asked for
  std::vector<torch::Tensor> long_share;  ///< for each tau, [layers, heads], float64

  /// Heads that are long: the top fraction of those that were long most often, so many that a share
  /// of `local_share` of all is local. Ties: the lower layer, then head, is long. Bool, [layers,
  /// heads]. Throws Error for a tau that was not calibrated.
  torch::Tensor pattern(double tau, double local_share) const;
  /// Throws Error, with the numbers, where it was made for another number of layers or heads, or
  /// for another window.
  void check(const Config& config, const Window& window) const;
};

/// What a text says of each head at each tau. `text` and `hash` are left empty.
HeadCalibration calibrate(const Margins& margins, const Window& window,
                          const std::vector<double>& tau);

/// As JSON, whole or not at all. Throws Error.
void save_calibration(const HeadCalibration& calibration, const std::filesystem::path& path);
/// Throws Error for a file that is no calibration, or a damaged one.
HeadCalibration load_calibration(const std::filesystem::path& path);

/// So many of all heads, drawn at random, are long that a share of `local_share` is local. The same
/// seed draws the same heads, and those of a larger share among those of a smaller one. Bool,
/// [layers, heads].
torch::Tensor random_pattern(const Config& config, double local_share, int64_t seed);

/// A user's own pattern: which heads are long, bool, [layers, heads]. Either JSON, {"long": [[...],
/// ...]} with true or false, or {"gates": [[...], ...]} with numbers, of each layer and head; or a
/// table of gates without a title, a line a layer, tabs between heads, as DuoAttention's
/// full_attention_heads.tsv (arXiv 2410.10819). Gates of `threshold` or more are long. A line may
/// give key-value heads: their query heads share it. Throws Error, with the numbers, for a file
/// that does not fit the model.
torch::Tensor load_pattern(const std::filesystem::path& path, const Config& config,
                           double threshold = 0.5);

}  // namespace motet
