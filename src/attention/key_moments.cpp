#include "motet/attention/key_moments.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <Eigen/Core>
#include <algorithm>
#include <cmath>

#include "attention/infinity.h"
#include "kernel/gaussian_mass.h"
#include "motet/error.h"

namespace motet {
namespace {

using torch::Tensor;
using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

int64_t half_of(int64_t features) { return features * (features + 1) / 2; }

/// The lower half of a symmetric matrix, row by row.
void pack(const Matrix& matrix, double* half) {
  for (Eigen::Index i = 0; i < matrix.rows(); ++i) {
    half = std::copy_n(&matrix(i, 0), i + 1, half);
  }
}

void check_same(const char* where, const KeyMoments& a, const KeyMoments& b) {
  require(a.sum.sizes() == b.sum.sizes() && a.second.sizes() == b.second.sizes(), where,
          ": moments of keys [batch, kv_heads, features] = ", a.sum.sizes(), " and ",
          b.sum.sizes());
}

void check_keys(const char* where, const KeyMoments& moments) {
  require(moments.count > 0, where, ": there are no keys");
}

}  // namespace

KeyMoments& KeyMoments::operator+=(const KeyMoments& other) {
  if (other.count == 0) {
    return *this;
  }
  if (count == 0) {
    return *this = other;
  }
  check_same("motet::KeyMoments +", *this, other);
  count += other.count;
  sum = sum + other.sum;
  second = second + other.second;
  return *this;
}

KeyMoments& KeyMoments::operator-=(const KeyMoments& other) {
  require(other.count <= count, "motet::KeyMoments: ", other.count, " keys cannot be taken out of ",
          count);
  if (other.count == count) {
    return *this = {};
  }
  if (other.count > 0) {
    check_same("motet::KeyMoments -", *this, other);
    count -= other.count;
    sum = sum - other.sum;
    second = second - other.second;
  }
  return *this;
}

KeyMoments operator+(KeyMoments a, const KeyMoments& b) { return a += b; }
KeyMoments operator-(KeyMoments a, const KeyMoments& b) { return a -= b; }

Tensor KeyMoments::mean() const {
  check_keys("motet::KeyMoments::mean", *this);
  return sum / count;
}

Tensor KeyMoments::covariance() const {
  check_keys("motet::KeyMoments::covariance", *this);
  const auto features = sum.size(2);
  const auto heads = sum.size(0) * sum.size(1);
  auto covariance = torch::empty({sum.size(0), sum.size(1), features, features}, sum.options());
  for (int64_t head = 0; head < heads; ++head) {
    const Eigen::Map<const Eigen::VectorXd> of_head(sum.const_data_ptr<double>() + head * features,
                                                    features);
    const Eigen::VectorXd mean = of_head / static_cast<double>(count);
    Eigen::Map<Matrix> sigma(covariance.data_ptr<double>() + head * features * features, features,
                             features);
    const auto* half = second.const_data_ptr<double>() + head * half_of(features);
    for (int64_t i = 0; i < features; half += ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        sigma(i, j) = sigma(j, i) = half[j] / static_cast<double>(count);
      }
    }
    sigma -= mean * mean.transpose();
  }
  return covariance;
}

Tensor KeyMoments::variance() const {
  check_keys("motet::KeyMoments::variance", *this);
  const auto features = torch::arange(sum.size(2));
  const auto diagonal =
      second.index_select(2, (features * (features + 3)).floor_divide(2));  // i (i + 1) / 2 + i
  return diagonal / count - mean().square();
}

KeyMoments moments_of(const Tensor& keys) {
  require(keys.dim() == 4, "motet::moments_of: keys of ", keys.dim(),
          " dimensions; they are [batch, kv_heads, keys, features]");
  const auto count = keys.size(2), features = keys.size(3);
  if (count == 0) {
    return {};
  }
  const auto options = torch::TensorOptions().dtype(torch::kFloat64);
  KeyMoments moments{count, torch::empty({keys.size(0), keys.size(1), features}, options),
                     torch::empty({keys.size(0), keys.size(1), half_of(features)}, options)};
  const at::NoGradGuard no_grad;
  at::parallel_for(0, keys.size(0) * keys.size(1), 1, [&](int64_t first, int64_t last) {
    for (auto head = first; head < last; ++head) {
      constexpr int64_t kBlock = 512;  // keys that are float64 at a time
      Matrix second = Matrix::Zero(features, features);
      Eigen::VectorXd sum = Eigen::VectorXd::Zero(features);
      for (int64_t key = 0; key < count; key += kBlock) {
        const auto block = keys[head / keys.size(1)][head % keys.size(1)]
                               .slice(0, key, std::min(key + kBlock, count))
                               .to(torch::kCPU, torch::kFloat64)
                               .contiguous();
        const Eigen::Map<const Matrix> k(block.const_data_ptr<double>(), block.size(0), features);
        second.selfadjointView<Eigen::Lower>().rankUpdate(k.transpose());
        sum += k.colwise().sum();
      }
      std::copy_n(sum.data(), features, moments.sum.data_ptr<double>() + head * features);
      pack(second, moments.second.data_ptr<double>() + head * half_of(features));
    }
  });
  return moments;
}

GaussianKeys::GaussianKeys(const KeyMoments& moments, Covariance covariance, double scale,
                           torch::ScalarType dtype)
    : count_(moments.count), full_(covariance == Covariance::kFull), dtype_(dtype) {
  if (count_ == 0) {
    return;
  }
  mean_ = (scale * moments.mean()).unsqueeze(2).to(dtype).contiguous();
  const auto spread = [&] {
    switch (covariance) {
      case Covariance::kFull:
        return moments.covariance();
      case Covariance::kDiagonal:
        return moments.variance().unsqueeze(2);
      case Covariance::kNone:
        break;
    }
    return torch::zeros_like(moments.sum).unsqueeze(2);
  };
  covariance_ = (scale * scale / 2 * spread()).to(dtype).contiguous();
}

Tensor GaussianKeys::log_mass(const Tensor& query) const {
  if (!query.is_cpu()) {  // moments are summed by Eigen, in the memory of this process
    return log_mass(query.cpu()).to(query.device());
  }
  const auto batch = query.size(0), heads = query.size(1), rows = query.size(2);
  if (count_ == 0) {
    return torch::full({batch, heads, rows}, -kInfinity, query.options().dtype(dtype_));
  }
  const auto kv_heads = mean_.size(1);
  require(kv_heads > 0 && heads % kv_heads == 0 && query.size(3) == mean_.size(3) &&
              (mean_.size(0) == 1 || mean_.size(0) == batch),
          "motet::GaussianKeys: a query of ", query.sizes(),
          " [batch, heads, rows, features] over keys of ", mean_.sizes());
  const auto log_count = std::log(static_cast<double>(count_));
  if (const auto mass = gaussian_mass(query, mean_, covariance_, full_)) {
    return mass->add_(log_count);
  }
  const auto q =
      query.to(dtype_).reshape({batch, kv_heads, heads / kv_heads * rows, query.size(3)});
  const auto spread = full_ ? torch::matmul(q, covariance_) : q * covariance_;
  const auto exponent = ((spread + mean_) * q).sum(3);  // q.(scale mu + scale^2 Sigma q / 2)
  return exponent.reshape({batch, heads, rows}) + log_count;
}

}  // namespace motet
