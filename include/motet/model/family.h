#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "motet/model/block.h"
#include "motet/model/config.h"

namespace motet {

/// Where a parameter lies in a family's files. `{}` in both names stands for the layer.
struct TensorName {
  std::string parameter;    ///< as in Decoder::named_parameters()
  std::string tensor;       ///< as in the safetensors file
  bool transposed = false;  ///< the file holds [in, out] (GPT-2's Conv1D)
};

/// A family of models: everything that the library must know to load, run and save one.
struct Family {
  std::string model_type;  ///< as in config.json
  /// Fills a Config from config.json; the second argument names the file in errors. Throws Error
  /// for an option that the block does not implement.
  std::function<Config(const nlohmann::json&, const std::string&)> configure;
  /// A block with its parameters registered; they are filled afterwards.
  std::function<std::shared_ptr<Block>(const Config&, int64_t layer)> make_block;
  std::function<std::shared_ptr<Norm>(const Config&)> make_norm;  ///< after the last block
  /// Names of all parameters that a model of this configuration may have.
  std::function<std::vector<TensorName>(const Config&)> names;
  std::string prefix;  ///< that names may have or lack, as GPT-2's "transformer."
  std::map<std::string, std::string> aliases = {};  ///< other names of tensors that files have
  std::vector<std::string> ignored;  ///< endings of tensors that are no parameters, as ".attn.bias"
  /// Endings of the weights that add to the residual stream, where the family begins with smaller
  /// ones; see initial_model.
  std::vector<std::string> residual = {};
  /// The token that ends an answer where config.json is silent (`eos_token_id`); see end_tokens.
  std::optional<int64_t> end_token = {};
};

/// Makes a family known under its model_type; one that is there is replaced. Not to be called while
/// models load. Returns true, so that a namespace may register with a constant.
bool register_family(Family family);

/// The family, or null.
const Family* find_family(const std::string& model_type);

/// Known families, for messages: "gpt2, llama, ...".
std::string family_names();

}  // namespace motet
