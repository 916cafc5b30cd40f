#include "motet/model/generate.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "motet/error.h"
#include "motet/files/json.h"
#include "motet/files/mapped.h"
#include "motet/model/config.h"
#include "motet/model/family.h"

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
  const auto wide = logits.to(torch::kFloat64).cpu();
  const auto largest = wide.max();
  require(std::isfinite(largest.item<double>()) && !wide.isnan().any().item<bool>(),
          "motet::Sampler: logits are not finite, the largest is ", largest.item<double>(),
          ": the model's weights are damaged, or its activations overflow in ",
          logits.scalar_type());
  if (options_.temperature == 0) {
    return logits.argmax().item<int64_t>();
  }
  // The largest first: what is divided by a very small temperature would overflow.
  const auto p = ((wide - largest) / options_.temperature).softmax(0);
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

std::vector<int64_t> end_tokens(const std::filesystem::path& directory) {
  const bool is_own = std::filesystem::exists(directory / "generation_config.json");
  const auto path = directory / (is_own ? "generation_config.json" : "config.json");
  const auto json = parse_json(read_file(path), path.string());
  require(json.is_object(), path.string(), ": is not a JSON object");
  const auto found = json.find("eos_token_id");
  std::vector<int64_t> tokens;
  if (found == json.end() && !is_own) {
    const auto* family = find_family(ConfigReader(json, path.string()).text("model_type", ""));
    if (family != nullptr && family->end_token) {
      tokens.push_back(*family->end_token);
    }
    return tokens;
  }
  if (found == json.end() || found->is_null()) {
    return tokens;
  }
  for (const auto& id : found->is_array() ? *found : nlohmann::json::array({*found})) {
    require(id.is_number_integer() && (!id.is_number_unsigned() || id.get<uint64_t>() < 1U << 31),
            path.string(), ": 'eos_token_id' is ", found->dump(),
            "; a token, a list of tokens or null is wanted");
    tokens.push_back(id.get<int64_t>());
  }
  return tokens;
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
    if (!generated.empty() && reader.positions_left() == 0) {
      break;
    }
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
