#include "motet/model/generate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "motet/error.h"

namespace motet {

void SamplingOptions::validate() const {
  require(std::isfinite(temperature) && temperature >= 0,
          "motet::Sampler: temperature = ", temperature, "; it is 0 or above");
  require(top_p > 0 && top_p <= 1, "motet::Sampler: top_p = ", top_p, "; it is above 0, at most 1");
}

Sampler::Sampler(SamplingOptions options) : options_(options), random_(options.seed) {
  options_.validate();
}

int64_t Sampler::draw(const torch::Tensor& logits) {
  require(logits.dim() == 1 && logits.numel() > 0, "motet::Sampler: logits of ", logits.sizes(),
          "; they are [vocabulary]");
  if (options_.temperature == 0) {
    return logits.argmax().item<int64_t>();
  }
  const auto p = (logits.to(torch::kFloat64).cpu() / options_.temperature).softmax(0);
  const auto [sorted, order] = p.sort(/*stable=*/true, 0, /*descending=*/true);
  const auto sums = sorted.cumsum(0);
  const auto* sum = sums.const_data_ptr<double>();
  const auto count = sums.numel();
  // The smallest number of tokens that reaches top_p.
  const auto kept = std::min<int64_t>(
      count, std::lower_bound(sum, sum + count, options_.top_p * sum[count - 1]) - sum + 1);
  // The top 53 bits: the same numbers on every system.
  const auto uniform = static_cast<double>(random_() >> 11) * 0x1p-53;
  const auto drawn =
      std::min<int64_t>(kept - 1, std::upper_bound(sum, sum + kept, uniform * sum[kept - 1]) - sum);
  return order[drawn].item<int64_t>();
}

std::vector<int64_t> generate(const Decoder& model, Reader& reader,
                              const std::vector<int64_t>& query, const GenerateOptions& options,
                              const OnToken& on_token) {
  require(options.tokens >= 0, "motet::generate: ", options.tokens, " tokens are wanted");
  Sampler sampler(options.sampling);
  const at::NoGradGuard no_grad;
  std::vector<int64_t> generated;
  auto next = query;
  while (static_cast<int64_t>(generated.size()) < options.tokens) {
    const auto hidden = reader.read(next);
    const auto token = sampler.draw(model.logits(hidden.slice(0, -1))[0]);
    if (std::find(options.stop.begin(), options.stop.end(), token) != options.stop.end()) {
      break;
    }
    generated.push_back(token);
    if (on_token && !on_token(token)) {
      break;
    }
    next = {token};
  }
  return generated;
}

}  // namespace motet
