#include "motet/attention/key_bounds.h"

#include <ATen/ATen.h>

#include "attention/infinity.h"
#include "motet/error.h"

namespace motet {

using torch::Tensor;

KeyBounds& KeyBounds::operator+=(const KeyBounds& other) {
  if (!other.low.defined()) {
    return *this;
  }
  if (!low.defined()) {
    return *this = other;
  }
  require(low.sizes() == other.low.sizes(),
          "motet::KeyBounds +: bounds of keys [batch, kv_heads, features] = ", low.sizes(), " and ",
          other.low.sizes());
  low = torch::minimum(low, other.low);
  high = torch::maximum(high, other.high);
  return *this;
}

KeyBounds bounds_of(const Tensor& keys) {
  require(keys.dim() == 4, "motet::bounds_of: keys of ", keys.dim(),
          " dimensions; they are [batch, kv_heads, keys, features]");
  if (keys.size(2) == 0) {
    return {};
  }
  const at::NoGradGuard no_grad;
  return {keys.amin(2), keys.amax(2)};
}

BoundedKeys::BoundedKeys(const KeyBounds& bounds, double scale, torch::ScalarType dtype)
    : dtype_(dtype) {
  if (bounds.low.defined()) {
    const auto scaled = [&](const Tensor& x) { return (scale * x.to(dtype)).unsqueeze(3); };
    low_ = scaled(scale < 0 ? bounds.high : bounds.low);
    high_ = scaled(scale < 0 ? bounds.low : bounds.high);
  }
}

Tensor BoundedKeys::log_mass(const Tensor& query) const {
  const auto batch = query.size(0), heads = query.size(1), rows = query.size(2);
  if (!low_.defined()) {
    return torch::full({batch, heads, rows}, -kInfinity, query.options().dtype(dtype_));
  }
  const auto kv_heads = low_.size(1);
  require(heads % kv_heads == 0 && query.size(3) == low_.size(2) &&
              (low_.size(0) == 1 || low_.size(0) == batch),
          "motet::BoundedKeys: a query of ", query.sizes(),
          " [batch, heads, rows, features] over keys of ", low_.sizes());
  const auto q =
      query.to(dtype_).reshape({batch, kv_heads, heads / kv_heads * rows, query.size(3)});
  const auto most = torch::matmul(q.clamp_min(0), high_) + torch::matmul(q.clamp_max(0), low_);
  return most.reshape({batch, heads, rows});
}

}  // namespace motet
