#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

/// What the programs that make paired figures share.
namespace bench {

using Call = std::function<void()>;

double seconds_of(const Call& call);

/// How long to go on alternating.
struct Rounds {
  int64_t least = 5;
  int64_t most = 41;
  double seconds = 2.5;  ///< no new round after this many, once `least` are done
};

/// Calls each once to warm up, then all of them in turn, round after round: what slows the machine
/// for a while slows them alike. Returns seconds, [call][round].
std::vector<std::vector<double>> alternate(const std::vector<Call>& calls, const Rounds& rounds);

/// Element by element.
std::vector<double> quotients(const std::vector<double>& above, const std::vector<double>& below);

/// The q-quantile, between neighbours where it falls between them.
double quantile(std::vector<double> values, double q);
double median(const std::vector<double>& values);

/// The middle of repeated measurements, and where most of them lie: the 10 % and 90 % quantiles, or
/// the extremes where there are fewer than ten.
struct Spread {
  double median = 0, low = 0, high = 0;
};

Spread spread_of(const std::vector<double>& values);

/// Processor, memory, versions, threads, kernel, date: what a figure depends on.
nlohmann::json machine();

/// Whether /proc/cpuinfo lists this flag.
bool processor_has(const std::string& flag);

/// Buffers of the same size that together are larger than any cache, visited in turn. A plain sum
/// over them is what the machine's bandwidth is taken from.
class Ring {
 public:
  static constexpr int64_t kBytes = int64_t{1} << 30;
  /// As many tensors of `shape` as fill kBytes.
  Ring(torch::IntArrayRef shape, torch::ScalarType dtype);

  const std::vector<torch::Tensor>& tensors() const { return tensors_; }
  double bytes() const;  ///< of all tensors
  /// Sums all the bytes, as fp32.
  void sum() const;

 private:
  std::vector<torch::Tensor> tensors_;
};

/// The two matrices of 2,048 x 2,048 whose product gives the machine's rate.
class Product {
 public:
  Product();
  void multiply() const;
  static double flops();

 private:
  torch::Tensor a_, b_;
};

}  // namespace bench
