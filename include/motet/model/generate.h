#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <random>
#include <vector>

#include "motet/model/reader.h"

namespace motet {

/// How tokens are drawn.
struct SamplingOptions {
  double temperature = 0;  ///< 0: the most likely token, always
  double top_p = 1;        ///< the smallest set of tokens with this much probability is drawn from
  uint64_t seed = 0;       ///< of the draws

  /// Throws Error naming the first field out of range.
  void validate() const;
};

/// Draws tokens from logits. The same seed draws the same tokens. Nucleus sampling: Holtzman et al.
/// 2020, arXiv 1904.09751.
class Sampler {
 public:
  /// Throws Error as SamplingOptions::validate.
  explicit Sampler(SamplingOptions options = {});
  /// One token of `logits`, [vocabulary].
  int64_t draw(const torch::Tensor& logits);

 private:
  SamplingOptions options_;
  std::mt19937_64 random_;
};

/// How much is generated, and how.
struct GenerateOptions {
  int64_t tokens = 128;       ///< at most
  std::vector<int64_t> stop;  ///< tokens that end it; they are not returned
  SamplingOptions sampling;   ///< greedy, unless given
};

/// Told of every token as it is drawn, before the reader reads it on; false ends the generation.
using OnToken = std::function<bool(int64_t token)>;

/// Tokens that end an answer, as Hugging Face has it: `eos_token_id` of DIRECTORY's
/// generation_config.json where there is that file (null or absent: none), else of its config.json
/// (null: none; absent: Family::end_token). Throws Error for something that is no token.
std::vector<int64_t> end_tokens(const std::filesystem::path& directory);

/// Reads the query and goes on from it, token by token, until a token of `stop` comes, there are as
/// many as wanted, or the model has no position for one more. The reader's probes see the query's
/// rows in the first pass, then one row a token: row i of those predicts token i. Throws Error as
/// Reader::read.
std::vector<int64_t> generate(const Decoder& model, Reader& reader,
                              const std::vector<int64_t>& query, const GenerateOptions& options,
                              const OnToken& on_token = {});

}  // namespace motet
