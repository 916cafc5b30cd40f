#include "motet/model/weights.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <torch/types.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "motet/error.h"
#include "motet/files/atomic.h"
#include "motet/files/mapped.h"
#include "motet/files/safetensors.h"
#include "motet/files/sha256.h"
#include "motet/model/config.h"
#include "motet/model/rope.h"
#include "temporary.h"

namespace motet {
namespace {

using nlohmann::json;

/// A copy of a golden model that a test may damage.
class Damaged : public testing::Test {
 protected:
  explicit Damaged(const std::string& name = "llama_default") {
    std::filesystem::copy(std::filesystem::path(MOTET_GOLDEN) / name, directory_.path(),
                          std::filesystem::copy_options::recursive);
  }

  std::string load_error() const {
    return message([&] { load_model(directory_.path()); });
  }
  void edit_config(const std::string& field, const json& value) const {
    auto config = json::parse(read_file(directory_ / "config.json"));
    config[field] = value;
    write_file(directory_ / "config.json", config.dump());
  }
  void edit_tensors(const std::function<void(std::map<std::string, torch::Tensor>&)>& edit) const {
    std::map<std::string, torch::Tensor> tensors;
    const auto file = SafeTensors::open(directory_ / "model.safetensors");
    for (const auto& name : file.names()) tensors[name] = file.tensor(name).clone();
    edit(tensors);
    save_safetensors(directory_ / "model.safetensors", tensors);
  }
  /// Writes a safetensors file from a header and so many bytes of data.
  void write_header(const std::string& header, std::size_t data) const {
    const uint64_t size = header.size();
    std::string bytes(reinterpret_cast<const char*>(&size), sizeof size);
    write_file(directory_ / "model.safetensors", bytes + header + std::string(data, '\0'));
  }

  TemporaryDirectory directory_;
  std::string where_ = directory_.path().string();
  std::string file_ = (directory_ / "model.safetensors").string();
  std::string config_ = (directory_ / "config.json").string();
};

TEST_F(Damaged, DirectoryMissing) {
  EXPECT_EQ(message([&] { load_model(directory_ / "nowhere"); }),
            where_ +
                "/nowhere: is not a directory; a model is a directory in Hugging Face format "
                "(config.json, model.safetensors, tokenizer.json or vocab.json + merges.txt)");
}

TEST_F(Damaged, FilesMissing) {
  std::filesystem::remove(directory_ / "model.safetensors");
  EXPECT_EQ(load_error(), where_ +
                              ": has no model.safetensors and no model.safetensors.index.json; the "
                              "download is not complete");
  std::filesystem::remove(directory_ / "config.json");
  EXPECT_EQ(load_error(),
            where_ + ": has no config.json; a model is a directory in Hugging Face format");
}

TEST_F(Damaged, FilesOfAnotherFormat) {
  const auto how = ": make a model of it: examples/python/import_model.py " + where_ + " OUT";
  const std::string weights = ": has no model.safetensors and no model.safetensors.index.json";
  const std::string config = ": has no config.json; a model is a directory in Hugging Face format";
  std::filesystem::remove(directory_ / "model.safetensors");
  for (const auto* name :
       {"pytorch_model.bin", "pytorch_model.bin.index.json", "model-Q4_0.gguf"}) {
    write_file(directory_ / name, "x");
    EXPECT_EQ(load_error(), where_ + weights + "; it has " + name + how);
    std::filesystem::remove(directory_ / name);
  }
  std::filesystem::remove(directory_ / "config.json");
  for (const auto* name : {"adapter_config.json", "ckpt.pt", "model-Q4_0.gguf"}) {
    write_file(directory_ / name, "x");
    EXPECT_EQ(load_error(), where_ + config + "; it has " + name + how);
    const auto file = (directory_ / name).string();
    EXPECT_EQ(message([&] { load_model(file); }),
              file +
                  ": is not a directory; a model is a directory in Hugging Face format "
                  "(config.json, model.safetensors, tokenizer.json or vocab.json + merges.txt); "
                  "make one of it: examples/python/import_model.py " +
                  file + " OUT");
    std::filesystem::remove(directory_ / name);
  }
}

TEST_F(Damaged, ConfigMalformed) {
  write_file(directory_ / "config.json", "{\"model_type\": ");
  EXPECT_EQ(load_error(), config_ + ": not JSON at byte 16: unexpected end of input");
  write_file(directory_ / "config.json", "[]");
  EXPECT_EQ(load_error(), config_ + ": is not a JSON object");
  write_file(directory_ / "config.json", "{}");
  EXPECT_EQ(load_error(), config_ + ": has no 'model_type'");
}

TEST_F(Damaged, ConfigOfAnotherFamily) {
  edit_config("model_type", "mamba");
  EXPECT_EQ(load_error(), config_ +
                              ": the model family 'mamba' is not known here; known: gemma2, "
                              "gemma3_text, gpt2, gpt_neox, llama, mistral, olmo2, phi3, qwen2, "
                              "qwen3");
}

TEST_F(Damaged, ConfigOfAModelThatSeesLaterTokens) {
  for (const auto& value : {json(false), json(nullptr)}) {
    edit_config("is_causal", value);
    EXPECT_EQ(load_error(),
              config_ + ": 'is_causal' is " + value.dump() + "; a decoder sees no later tokens");
  }
  edit_config("is_causal", true);
  EXPECT_EQ(load_error(), "no error");
}

TEST_F(Damaged, ConfigFieldsOutOfRange) {
  edit_config("num_hidden_layers", 0);
  EXPECT_EQ(load_error(),
            config_ + ": 'num_hidden_layers' is 0; a whole number of at least 1 is wanted");
  edit_config("num_hidden_layers", 2);
  edit_config("num_key_value_heads", 3);
  EXPECT_EQ(load_error(), config_ + ": 4 query heads do not divide into 3 heads of keys");
  edit_config("num_key_value_heads", 2);
  edit_config("hidden_act", "mish");
  EXPECT_EQ(load_error(), config_ +
                              ": the activation 'mish' is not known here; silu, relu, gelu, "
                              "gelu_new and gelu_pytorch_tanh are");
  edit_config("hidden_act", "silu");
  edit_config("rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}});
  EXPECT_EQ(load_error(), config_ +
                              ": 'rope_scaling.rope_type' is \"dynamic\"; default, linear, llama3, "
                              "yarn or longrope is wanted");
  edit_config("rope_scaling", {{"rope_type", "linear"}});
  EXPECT_EQ(load_error(), config_ + ": has no 'rope_scaling.factor'; a number is wanted");
  edit_config("rope_scaling", {{"rope_type", "default"}, {"partial_rotary_factor", 0.5}});
  EXPECT_EQ(load_error(), config_ +
                              ": 'rope_scaling.partial_rotary_factor' is 0.5; 1, as the family "
                              "rotates all, is wanted");
}

/// As Hugging Face treats them: few fields may be null, and no type stands for another.
TEST_F(Damaged, NullAbsentEmptyAndOfAnotherTypeAreFourThings) {
  const auto error_with = [&](const char* field, const json& value) {
    const auto before = read_file(config_);
    edit_config(field, value);
    const auto error = load_error();
    write_file(config_, before);
    return error;
  };
  EXPECT_EQ(error_with("rms_norm_eps", "1e-5"),
            config_ + ": 'rms_norm_eps' is \"1e-5\"; a number is wanted");
  EXPECT_EQ(error_with("rms_norm_eps", nullptr),
            config_ + ": 'rms_norm_eps' is null; a number is wanted");
  EXPECT_EQ(error_with("attention_bias", 1),
            config_ + ": 'attention_bias' is 1; true or false is wanted");
  EXPECT_EQ(error_with("vocab_size", 40.0),
            config_ + ": 'vocab_size' is 40.0; a whole number of at least 1 is wanted");
  EXPECT_EQ(
      error_with("vocab_size", 18446744073709551615u),
      config_ + ": 'vocab_size' is 18446744073709551615; a whole number of at least 1 is wanted");
  EXPECT_EQ(error_with("num_key_value_heads", nullptr).substr(0, where_.size()), where_);
  EXPECT_EQ(error_with("head_dim", nullptr), "no error");
  EXPECT_EQ(error_with("partial_rotary_factor", nullptr), "no error");
  EXPECT_EQ(error_with("rope_scaling", nullptr), "no error");
  EXPECT_EQ(error_with("rope_scaling", json::object()), "no error");
  EXPECT_EQ(error_with("rope_scaling", json::array()),
            config_ + ": 'rope_scaling' is []; an object is wanted");
  EXPECT_EQ(error_with("rope_scaling", {{"rope_type", nullptr}, {"factor", 2.0}}),
            config_ + ": 'rope_scaling.rope_type' is null; a string is wanted");
  EXPECT_EQ(error_with("rope_parameters", {{"rope_theta", "500000"}}),
            config_ + ": 'rope_parameters.rope_theta' is \"500000\"; a number is wanted");
  EXPECT_EQ(error_with("rope_scaling", {{"type", "yarn"}, {"factor", 4.0}, {"truncate", nullptr}}),
            "no error");
  EXPECT_EQ(error_with("model_type", nullptr),
            config_ + ": 'model_type' is null; a string is wanted");
  EXPECT_EQ(error_with("_name_or_path", nullptr), "no error");
}

TEST_F(Damaged, RopesThatGiveNoNumbersAreRefused) {
  const auto error_with = [&](const json& rope) {
    edit_config("rope_parameters", rope);
    return load_error();
  };
  EXPECT_EQ(error_with({{"rope_theta", 0}}),
            config_ + ": 'rope_parameters.rope_theta' is 0; a number above 0 is wanted");
  EXPECT_EQ(error_with({{"rope_type", "linear"}, {"factor", -2.0}}),
            config_ + ": 'rope_parameters.factor' is -2.0; a number above 0 is wanted");
  EXPECT_EQ(error_with({{"rope_type", "yarn"}, {"factor", 2.0}, {"rope_theta", 1.0}}),
            config_ + ": 'rope_parameters.rope_theta' is 1.0; a number beside 1 is wanted");
  EXPECT_EQ(
      error_with(
          {{"rope_type", "longrope"}, {"short_factor", {1.0, 0.0}}, {"long_factor", {1.0, 1.0}}}),
      config_ + ": 'rope_parameters.short_factor' is [1.0,0.0]; numbers above 0 is wanted");
}

TEST_F(Damaged, SizesThatTheWeightsCannotHaveAreRefusedBeforeTheyAreMade) {
  edit_config("num_hidden_layers", 1000000000000);
  EXPECT_EQ(load_error(), where_ +
                              ": config.json gives the model 1000000000000 layers, but its weights "
                              "are 20 tensors");
  edit_config("num_hidden_layers", 2);
  edit_config("intermediate_size", 100000000000);
  EXPECT_EQ(
      load_error().substr(0, where_.size() + 78),
      where_ + ": config.json gives the model a width of 16 and an inner width of 100000000000");
}

class DamagedFamily : public Damaged {
 protected:
  explicit DamagedFamily(const std::string& name) : Damaged(name) {}
  Config with(const std::string& field, const json& value) const {
    const auto before = read_file(config_);
    edit_config(field, value);
    std::optional<Config> config;
    const auto error = message([&] { config = load_config(directory_.path()); });
    write_file(config_, before);
    require(config.has_value(), error);
    return *config;
  }
  std::string error_with(const std::string& field, const json& value) const {
    return message([&] { with(field, value); });
  }
};

struct DamagedNeox : DamagedFamily {
  DamagedNeox() : DamagedFamily("gpt_neox_default") {}
};

/// transformers 5.24 reads them inside rope_parameters only, or under their older names.
TEST_F(DamagedNeox, TopLevelRopeIsNotRead) {
  EXPECT_EQ(with("partial_rotary_factor", 0.5).rope->share, 0.25);
  EXPECT_EQ(with("rope_theta", 333.0).rope->theta, 10000.0);
  edit_config("rope_parameters", nullptr);
  EXPECT_EQ(with("rotary_emb_base", 555).rope->theta, 555.0);
}

TEST_F(DamagedNeox, AShareOfNoFeatureRotatesNothing) {
  edit_config("rope_parameters", {{"rope_theta", 10000.0}, {"partial_rotary_factor", 0.1}});
  const auto model = load_model(directory_.path());
  EXPECT_EQ(model->config().rope->rotated(model->config().features), 0);
  const Rotation none = rotation(*model->config().rope, model->config().features, {0, 1, 2}, {});
  const auto x = torch::randn({1, 4, 3, 8});
  EXPECT_TRUE(torch::equal(rotate(x, none), x));
}

TEST_F(DamagedNeox, TheHeadHasTwoNames) {
  const auto right = load_model(directory_.path())->fingerprint();
  edit_tensors([](auto& tensors) {
    tensors["lm_head.weight"] = tensors["embed_out.weight"];
    tensors.erase("embed_out.weight");
  });
  EXPECT_EQ(load_model(directory_.path())->fingerprint(), right);
}

struct DamagedGpt2 : DamagedFamily {
  DamagedGpt2() : DamagedFamily("gpt2_default") {}
};

/// As transformers 5.24 has it, whatever n_embd and the like say.
TEST_F(DamagedGpt2, OtherNamesOfSizesGoFirst) {
  EXPECT_EQ(with("hidden_size", 32).width, 32);
  EXPECT_EQ(with("num_hidden_layers", 3).layers, 3);
  EXPECT_EQ(with("num_attention_heads", 2).heads, 2);
  EXPECT_EQ(with("max_position_embeddings", 99).positions, 99);
  EXPECT_EQ(error_with("hidden_size", nullptr),
            config_ + ": 'hidden_size' is null; a whole number of at least 1 is wanted");
}

struct DamagedGemma : DamagedFamily {
  DamagedGemma() : DamagedFamily("gemma3_default") {}
};

TEST_F(DamagedGemma, LayersWithAWindowScaleByTheModelsPositions) {
  const json full{{"rope_type", "default"}, {"rope_theta", 1e6}};
  const json local{{"rope_type", "llama3"},
                   {"rope_theta", 1e4},
                   {"factor", 8.0},
                   {"low_freq_factor", 1.0},
                   {"high_freq_factor", 4.0}};
  const auto config =
      with("rope_parameters", {{"full_attention", full}, {"sliding_attention", local}});
  EXPECT_EQ(std::get<Llama3Rope>(config.window_rope->scaling).original_positions, 64);
  EXPECT_EQ(config.window_rope->theta, 1e4);
  EXPECT_EQ(error_with("rope_scaling", {{"type", "linear"}, {"factor", 4.0}}),
            config_ + ": 'rope_scaling.type' is \"linear\"; rope_type in its place is wanted");
  EXPECT_EQ(error_with("query_pre_attn_scalar", 0),
            config_ + ": 'query_pre_attn_scalar' is 0; a number above 0 is wanted");
  EXPECT_EQ(
      error_with("final_logit_softcapping", 0.0),
      config_ + ": 'final_logit_softcapping' is 0.0; a number other than 0, or null, is wanted");
  EXPECT_EQ(with("final_logit_softcapping", -30.0).logit_cap, 30.0);
}

struct DamagedMistral : DamagedFamily {
  DamagedMistral() : DamagedFamily("mistral_window") {}
};

/// What transformers 5.24 then takes for Ministral.
TEST_F(DamagedMistral, LayerTypesSayWhichLayersHaveAWindow) {
  const auto config = with("layer_types", {"full_attention", "sliding_attention"});
  EXPECT_EQ(config.window(0), std::nullopt);
  EXPECT_EQ(config.window(1), with("layer_types", nullptr).window(1));
}

struct DamagedQwen : DamagedFamily {
  DamagedQwen() : DamagedFamily("qwen2_window") {}
};

TEST_F(DamagedQwen, WindowsMayBeginAtTheFirstLayer) {
  edit_config("layer_types", nullptr);
  EXPECT_TRUE(with("max_window_layers", 0).window(0).has_value());
  edit_config("layer_types", {"full_attention", "sliding_attention"});
  EXPECT_EQ(error_with("sliding_window", nullptr),
            config_ +
                ": 'sliding_window' is null; another value, as layer 1 has a window, is "
                "wanted");
}

TEST_F(DamagedQwen, ARopeOfEachKindOfLayerIsRefused) {
  const json rope{{"rope_type", "default"}, {"rope_theta", 5e5}};
  for (const std::string field : {"rope_parameters", "rope_scaling"}) {
    EXPECT_EQ(error_with(field, {{"full_attention", rope}, {"sliding_attention", rope}}),
              config_ + ": '" + field +
                  ".full_attention' is {\"rope_theta\":500000.0,\"rope_type\":\"default\"}; "
                  "nothing, as the family has one rope for all layers, is wanted");
  }
}

TEST_F(Damaged, LfsPointersAreNamed) {
  const std::string pointer =
      "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 538090408\n";
  const std::string words =
      ": is a Git LFS pointer, not the file itself; `git lfs pull` in its repository fetches it";
  write_file(directory_ / "model.safetensors", pointer);
  EXPECT_EQ(load_error(), file_ + words);
  write_file(directory_ / "config.json", pointer);
  EXPECT_EQ(load_error(), config_ + words);
}

TEST_F(Damaged, QuantisedModelsAreNamed) {
  const auto words = [&](const std::string& method) {
    return where_ + ": the weights are quantised (" + method +
           "): dequantise them first, with the library that quantised them";
  };
  edit_config("quantization_config", {{"quant_method", "awq"}});
  EXPECT_EQ(load_error(), words("awq"));
  edit_config("quantization_config", nullptr);
  EXPECT_EQ(load_error(), "no error");
  edit_tensors([](auto& tensors) {
    tensors["model.layers.0.mlp.up_proj.qweight"] = torch::zeros({2}, torch::kInt32);
  });
  EXPECT_EQ(load_error(), words("GPTQ or AWQ"));
}

TEST_F(Damaged, TensorMissing) {
  edit_tensors([](auto& tensors) { tensors.erase("model.layers.1.mlp.up_proj.weight"); });
  EXPECT_EQ(load_error(), where_ + ": the tensor 'model.layers.1.mlp.up_proj.weight' is missing");
}

TEST_F(Damaged, TensorLeftOver) {
  edit_tensors(
      [](auto& tensors) { tensors["model.layers.2.mlp.up_proj.weight"] = torch::zeros({3}); });
  EXPECT_EQ(load_error(), where_ +
                              ": the tensor 'model.layers.2.mlp.up_proj.weight' is left over: the "
                              "family llama with this config.json has no such parameter; "
                              "ignore_tensors 'model.layers.2.mlp.up_proj.weight' leaves it out, "
                              "where that is meant");
  EXPECT_NO_THROW(load_model(directory_.path(), {.ignore_tensors = {"model.layers.2.*"}}));
  EXPECT_EQ(message([&] {
              load_model(directory_.path(), {.ignore_tensors = {"model.layers.2.*", "v_head*"}});
            }),
            where_ + ": ignore_tensors 'v_head*' matches no tensor that is left over");
}

TEST_F(Damaged, NamesMayLackThePrefixOfTheFamily) {
  edit_tensors([](auto& tensors) {
    auto bare = tensors;
    bare.clear();
    for (auto& [name, tensor] : tensors) {
      bare[name.substr(std::string("model.").size())] = tensor;
    }
    tensors = bare;
  });
  EXPECT_EQ(load_error(), "no error");
}

TEST_F(Damaged, TheWrapperOfNamesIsNamed) {
  edit_tensors([](auto& tensors) {
    auto wrapped = tensors;
    wrapped.clear();
    for (auto& [name, tensor] : tensors) {
      wrapped["module." + name] = tensor;
    }
    tensors = wrapped;
  });
  EXPECT_EQ(load_error(),
            where_ +
                ": the tensor 'model.embed_tokens.weight' is missing; there is "
                "'module.model.embed_tokens.weight': a wrapper put 'module.' before the names. "
                "examples/python/import_model.py DIR OUT --strip-prefix module. makes a model "
                "without it");
}

TEST_F(Damaged, OneOfTwoTiedTensorsIsEnough) {
  const auto right = load_model(directory_.path())->fingerprint();
  edit_tensors([](auto& tensors) {
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"];
    tensors.erase("model.embed_tokens.weight");
  });
  EXPECT_EQ(load_model(directory_.path())->fingerprint(), right);
}

TEST_F(Damaged, TensorOfAnotherShape) {
  edit_config("intermediate_size", 30);
  EXPECT_EQ(
      load_error().substr(where_.size()),
      ": the tensor 'model.layers.0.mlp.gate_proj.weight' is [" +
          std::to_string(json::parse(read_file(std::filesystem::path(MOTET_GOLDEN) /
                                               "llama_default/config.json"))["intermediate_size"]
                             .get<int>()) +
          ", 16], but config.json makes it [30, 16]");
}

TEST_F(Damaged, TensorOfAnotherKind) {
  edit_tensors([](auto& tensors) {
    tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch::kInt32);
  });
  EXPECT_EQ(load_error(),
            where_ +
                ": the tensor 'model.norm.weight' is of I32; F64, F32, F16 and BF16 can be "
                "loaded");
}

TEST_F(Damaged, TensorsOfSeveralTypesBecomeTheOneThatHoldsThem) {
  const auto type_of = [&](torch::ScalarType embedding, torch::ScalarType others) {
    edit_tensors([&](auto& tensors) {
      for (auto& [name, tensor] : tensors) {
        tensor = tensor.to(name == "model.embed_tokens.weight" ? embedding : others);
      }
    });
    const auto model = load_model(directory_.path());
    for (const auto& parameter : model->parameters()) {
      EXPECT_EQ(parameter.scalar_type(), model->dtype());
    }
    return model->dtype();
  };
  EXPECT_EQ(type_of(torch::kBFloat16, torch::kFloat32), torch::kFloat32);
  EXPECT_EQ(type_of(torch::kBFloat16, torch::kFloat16), torch::kFloat32);
  EXPECT_EQ(type_of(torch::kBFloat16, torch::kBFloat16), torch::kBFloat16);
}

TEST_F(Damaged, TiedHeadThatDiffers) {
  edit_tensors(
      [](auto& tensors) { tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]; });
  EXPECT_EQ(load_error(), "no error");  // a tied embedding written twice
  edit_tensors([](auto& tensors) { tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1; });
  EXPECT_EQ(load_error(), where_ +
                              ": 'lm_head.weight' differs from 'model.embed_tokens.weight', but "
                              "config.json ties them (tie_word_embeddings)");
}

TEST_F(Damaged, FileTruncated) {
  const auto bytes = read_file(directory_ / "model.safetensors");
  write_file(directory_ / "model.safetensors", bytes.substr(0, 5));
  EXPECT_EQ(load_error(),
            file_ + ": is truncated: 5 bytes are no safetensors file; download it again");
  write_file(directory_ / "model.safetensors", bytes.substr(0, 100));
  uint64_t header = 0;
  std::memcpy(&header, bytes.data(), sizeof header);
  EXPECT_EQ(load_error(), file_ + ": is truncated or no safetensors file: a header of " +
                              std::to_string(header) + " bytes in a file of 100");
  write_file(directory_ / "model.safetensors", bytes.substr(0, bytes.size() - 64));
  const auto data = bytes.size() - header - 8;
  EXPECT_EQ(load_error(), file_ + ": is truncated: tensor 'model.norm.weight' ends at byte " +
                              std::to_string(data) + " of the data, of which there are " +
                              std::to_string(data - 64) + "; download the file again");
}

TEST_F(Damaged, HeaderThatLies) {
  write_header("[]", 0);
  EXPECT_EQ(load_error(), file_ + ": is not a safetensors file: its header is not a JSON object");
  write_header(
      R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
      12);
  EXPECT_EQ(load_error(),
            file_ +
                ": tensor 'b' begins at byte 4 of the data, inside the tensor before it, "
                "which ends at 8");
  write_header(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", 8);
  EXPECT_EQ(load_error(), file_ +
                              ": tensor 'a' of F32 [3] takes 12 bytes, but its data_offsets [0,8] "
                              "hold 8");
  write_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12);
  EXPECT_EQ(load_error(), file_ + ": bytes 0 to 4 of the data belong to no tensor");
  write_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 12);
  EXPECT_EQ(load_error(), file_ + ": bytes 8 to 12 of the data belong to no tensor");
  write_header(R"({"a":{"dtype":"F8","shape":[2],"data_offsets":[0,8]}})", 8);
  EXPECT_EQ(message([&] { SafeTensors::open(file_).tensor("a"); }),
            file_ + ": tensor 'a' is of F8, which LibTorch does not have");
  write_header(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8);
  EXPECT_EQ(load_error(), file_ + ": tensor 'a' has the shape [-2]");
  write_header(R"({"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,8]}})", 8);
  EXPECT_EQ(load_error(), file_ + ": tensor 'a' has the shape [1000000000,1000000000]");
  write_header(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8);
  EXPECT_EQ(load_error(), file_ + ": tensor 'a' has the data_offsets [8,0]");
  write_header(R"({"a":[1]})", 8);
  EXPECT_EQ(load_error(), file_ + ": tensor 'a' has no dtype, shape and data_offsets");
}

class DamagedShards : public Damaged {
 protected:
  DamagedShards() : Damaged("llama_sharded") {}
  std::string index_ = (directory_ / "model.safetensors.index.json").string();
};

TEST_F(DamagedShards, AreNamed) {
  auto index = json::parse(read_file(index_));
  const auto shard = index["weight_map"]["model.norm.weight"].get<std::string>();
  std::filesystem::rename(directory_ / shard, directory_ / "aside");
  EXPECT_EQ(load_error(),
            index_ + ": names the shard " + shard + ", which is missing; download it too");
  std::filesystem::rename(directory_ / "aside", directory_ / shard);
  index["weight_map"]["model.extra.weight"] = ".";
  write_file(index_, index.dump());
  EXPECT_EQ(load_error(),
            index_ + ": the shard of 'model.extra.weight' is '.', which is not a file");
  index["weight_map"]["model.extra.weight"] = shard;
  write_file(index_, index.dump());
  EXPECT_EQ(load_error(),
            index_ + ": says that " + shard + " holds 'model.extra.weight', but it does not");
  write_file(index_, "[]");
  EXPECT_EQ(load_error(), index_ + ": is not an index of shards: it is not a JSON object");
}

TEST(Weights, StayInTheFileUntilTheyAreWrittenTo) {
  TemporaryDirectory directory;
  std::filesystem::copy(std::filesystem::path(MOTET_GOLDEN) / "llama_default", directory.path(),
                        std::filesystem::copy_options::recursive);
  const auto before = read_file(directory / "model.safetensors");
  const auto model = load_model(directory.path());
  {
    const at::NoGradGuard no_grad;
    for (auto& parameter : model->parameters()) parameter.add_(1);
  }
  EXPECT_EQ(read_file(directory / "model.safetensors"), before);  // a private copy changed
  const auto again = load_model(directory.path());
  EXPECT_FALSE(torch::equal(model->parameters()[0], again->parameters()[0]));
}

TEST(Weights, ThatCannotBeWrittenLeaveNothing) {
  const auto model = load_model(std::filesystem::path(MOTET_GOLDEN) / "llama_default");
  TemporaryDirectory directory;
  write_file(directory / "taken", "x");
  EXPECT_EQ(message([&] { save_model(*model, directory / "taken"); }),
            (directory / "taken").string() + ": cannot be made: Not a directory");
  EXPECT_EQ(message([] { write_file("/dev/full/x", "y"); }),
            "/dev/full/x: cannot be written: Not a directory");
}

TEST(AtomicFile, SaysWhyItStopsHalfway) {
  TemporaryDirectory directory;
  write_file(directory / "a", "before");
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  std::string said;
  {
    const FileSizeLimit limit(5000);  // takes a part of what is written, as a disk that fills up
    said = message([&] { write_file(directory / "a", std::string(9000, 'x')); });
  }
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(said, (directory / "a").string() +
                      ": cannot be written: File too large; nothing was changed");
  EXPECT_EQ(read_file(directory / "a"), "before");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(AtomicFile, TakesThePlaceOfFilesOnly) {
  TemporaryDirectory directory;
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_EQ(message([&] { write_file(directory / "pipe", "x"); }),
            (directory / "pipe").string() + ": cannot be written: it is there and not a file");
  EXPECT_TRUE(std::filesystem::is_fifo(directory / "pipe"));
}

TEST(AtomicFile, LeavesNothingUnlessCommitted) {
  TemporaryDirectory directory;
  {
    AtomicFile file(directory / "a");
    file.write("half");
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  write_file(directory / "a", "whole");
  EXPECT_EQ(read_file(directory / "a"), "whole");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

}  // namespace
}  // namespace motet
