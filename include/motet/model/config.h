#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "motet/model/rope.h"

namespace motet {

/// The sizes and options of a decoder, in this library's words. A family fills it from a Hugging
/// Face config.json.
struct Config {
  std::string model_type;            ///< the family's name: "gpt2", "llama", ...
  int64_t vocabulary = 0;            ///< rows of the embedding
  int64_t width = 0;                 ///< of the residual stream
  int64_t layers = 0;                ///< blocks
  int64_t heads = 0;                 ///< query heads
  int64_t kv_heads = 0;              ///< heads of keys and values; divides `heads`
  int64_t features = 0;              ///< of one head
  int64_t inner = 0;                 ///< width inside the MLP
  int64_t positions = 0;             ///< that the model was made for; a learned table has no more
  double norm_epsilon = 1e-5;        ///< added to a variance
  std::string activation;            ///< Hugging Face's name: "silu", "gelu_new", ...
  bool tied = false;                 ///< the output layer is the embedding
  bool attention_bias = false;       ///< of queries, keys and values
  bool attention_out_bias = false;   ///< of the product that joins the heads
  bool query_key_norm = false;       ///< queries and keys are normed before rotation, by head
  bool query_key_norm_wide = false;  ///< or all heads together
  bool mlp_bias = false;             ///< of the MLP's products
  bool gated = false;        ///< the MLP has a gate beside its product up: three products, not two
  std::optional<Rope> rope;  ///< nothing: learned positions
  /// Of layers with a window, where it differs from `rope`.
  std::optional<Rope> window_rope;
  bool scale_scores = true;            ///< by 1 / sqrt(features)
  bool scale_scores_by_layer = false;  ///< and by 1 / (layer + 1)
  std::optional<double> score_scale;   ///< in place of 1 / sqrt(features)
  std::optional<double> score_cap;     ///< soft cap of scores; see ScoreRule
  bool norm_before = true;             ///< attention and MLP read the residual stream normed
  bool norm_after = false;             ///< what they add to it is normed
  double norm_offset = 0;              ///< added to the weights of norms
  bool parallel = false;               ///< attention and MLP read the same residual stream
  bool fused = false;                  ///< products that read the same rows are stored as one
  /// The window of each layer: its rows see keys less than so many positions behind their own; 0:
  /// all of them. Empty: no layer has one. See behind_window.
  std::vector<int64_t> windows;
  double embedding_scale = 1;       ///< on the embedding of tokens, before the first block
  std::optional<double> logit_cap;  ///< soft cap: logits are cap tanh(logit / cap)
  nlohmann::json
      source;  ///< config.json as it was read; kept for saving, and for families of one's own

  /// Whether positions are a table of parameters (GPT-2), not rotations.
  bool learned_positions() const { return !rope.has_value(); }
  /// The window of a layer, or nothing where its rows see all keys.
  std::optional<int64_t> window(int64_t layer) const;
  /// The rope of a layer.
  const std::optional<Rope>& rope_in(int64_t layer) const {
    return window_rope && window(layer) ? window_rope : rope;
  }
  /// Whether a pass that reaches so many positions takes LongRope's long factors, here.
  bool takes_long_factors(int64_t reach) const;
};

/// Reads DIRECTORY/config.json, or a file of that kind, with the registered family that its
/// model_type names. Throws Error where it is missing or malformed, and for an unknown family.
Config load_config(const std::filesystem::path& directory);

/// Fields of a config.json, with errors that name file, field and value. For families. A field that
/// is absent has a default; null is a value of its own, which few fields may have.
class ConfigReader {
 public:
  /// `where` names the file; `json`, an object, outlives the reader.
  ConfigReader(const nlohmann::json& json, std::string where)
      : json_(json), where_(std::move(where)) {}

  bool absent(const char* name) const;   ///< the field is not there
  bool is_null(const char* name) const;  ///< it is there, and null
  /// Whether the field is there and not null.
  bool has(const char* name) const { return !absent(name) && !is_null(name); }

  /// A whole number of at least 1. Throws Error where it is missing or something else.
  int64_t size(const char* name) const;
  /// The same, or `otherwise` where it is absent. Throws Error for null and for something else.
  int64_t size(const char* name, int64_t otherwise) const;
  /// The same, where null means `if_null`.
  int64_t size(const char* name, int64_t otherwise, int64_t if_null) const;
  /// A whole number of at least 0, or `otherwise` where it is absent. Throws Error for something
  /// else.
  int64_t count(const char* name, int64_t otherwise) const;
  /// A finite number. Throws Error where it is missing or something else.
  double number(const char* name) const;
  /// The same, or `otherwise` where it is absent.
  double number(const char* name, double otherwise) const;
  /// A number above 0, as `number` otherwise. Throws Error for something else.
  double positive(const char* name) const;
  /// The same, or `otherwise` where it is absent.
  double positive(const char* name, double otherwise) const;
  /// The same, where null means nothing.
  std::optional<double> number_or_null(const char* name, std::optional<double> otherwise) const;
  /// true or false, or `otherwise` where it is absent. Throws Error for something else.
  bool flag(const char* name, bool otherwise) const;
  /// A string, or `otherwise` where it is absent. Throws Error for something else.
  std::string text(const char* name, const std::string& otherwise) const;
  /// Strings; none where the field is absent or null. Throws Error for something else.
  std::vector<std::string> texts(const char* name) const;
  /// Finite numbers. Throws Error where the field is missing or something else.
  std::vector<double> numbers(const char* name) const;
  /// The fields of an object; errors name them as "name.field". Empty where it is absent or null.
  ConfigReader object(const char* name) const;
  bool empty() const { return json_.empty(); }  ///< has no fields

  /// Throws Error: the file, the field, its value, and what is `wanted` in its place.
  [[noreturn]] void fail(const char* name, const std::string& wanted) const;
  const std::string& where() const { return where_; }  ///< the file

 private:
  ConfigReader(const nlohmann::json& json, std::string where, std::string path)
      : json_(json), where_(std::move(where)), path_(std::move(path)) {}
  /// The field, or null where it is absent.
  const nlohmann::json& field(const char* name) const;

  const nlohmann::json& json_;
  std::string where_;
  std::string path_;  // of the fields, as "rope_scaling."
};

}  // namespace motet
