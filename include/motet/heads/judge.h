#pragma once

#include <torch/types.h>

#include <cstdint>

#include "motet/context/encoded_context.h"
#include "motet/context/window.h"
#include "motet/probe/probe.h"
#include "motet/probe/statistic.h"

namespace motet {

/// Holds every decision about bulks (ReadingNeeds::bulk) against what it should have been: the true
/// and the estimated mass of the same queries and keys, in the same pass. Figures are of query
/// rows, [layers, batch, heads, rows].
class HeadJudge : public Probe {
 public:
  /// `context` is the one that is read, and outlives the judge.
  explicit HeadJudge(const EncodedContext& context, Covariance covariance = Covariance::kFull)
      : context_(context), covariance_(covariance) {}
  ProbeNeeds needs() const override { return {.rows = true, .query_keys_values = true}; }
  /// Throws Error where the reading decides about no bulk.
  void observe(const Observation& seen) override;

  const RowStatistic& local() const { return local_; }    ///< 1 where a row read no bulk
  const RowStatistic& window() const { return window_; }  ///< ln A_W, nats
  const RowStatistic& bulk() const { return bulk_; }      ///< ln A_B, nats; -inf where it is empty
  const RowStatistic& estimate() const { return estimate_; }  ///< ln A_B_hat, nats, of all pieces
  /// ln A_W - ln A_B: a row is local by the oracle where it is ln(tau / (1 - tau)) or more.
  torch::Tensor margin() const { return window_.rows() - bulk_.rows(); }
  /// The same of the estimate, by which a row of Adaptive is local.
  torch::Tensor estimated_margin() const { return window_.rows() - estimate_.rows(); }

 private:
  const EncodedContext& context_;
  Covariance covariance_;
  RowStatistic local_, window_, bulk_, estimate_;
};

/// The memory of keys and values that a decoder reads, a row at a time, over that where all is
/// dense. `local` is of HeadJudge: heads that share keys read a bulk when any of them is long.
/// `window` is how many keys a row reads beside a bulk of `bulk` keys, on average.
double read_share(const torch::Tensor& local, int64_t kv_heads, double window, double bulk);

/// How Gaussian the scores of the keys of the bulk are, head by head: for some query rows of each
/// pass, their scores with its mean taken off and divided by its deviation, against the normal
/// distribution.
class GaussianFit : public Probe {
 public:
  static constexpr int64_t kBins = 48;      ///< of a histogram
  static constexpr double kDeviations = 6;  ///< it covers so many to either side; the outermost
                                            ///< bins hold what is farther out
  /// `context` is the one that is read, and outlives the fit; `rows` of each pass are looked at.
  explicit GaussianFit(const EncodedContext& context, int64_t rows = 16)
      : context_(context), rows_(rows) {}
  ProbeNeeds needs() const override { return {.rows = true, .query_keys_values = true}; }
  void observe(const Observation& seen) override;

  /// The largest distance of the two distribution functions (Kolmogorov and Smirnov's statistic),
  /// mean over rows, [layers, heads], float64.
  torch::Tensor distance() const { return distance_.heads(); }
  /// The share of keys in each bin, mean over rows, [layers, heads, bins], float64.
  torch::Tensor histogram() const { return histogram_.heads(); }

 private:
  const EncodedContext& context_;
  int64_t rows_;
  RowStatistic distance_, histogram_;
};

}  // namespace motet
