#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "definition.h"
#include "motet/error.h"

namespace motet::text {
namespace {

namespace fs = std::filesystem;

bool is_there(const fs::path& path) {
  std::error_code ignored;  // what cannot be looked at is not there
  return fs::exists(path, ignored);
}

/// How to make a tokenizer.json.
std::string command(const fs::path& directory) {
  return "; Hugging Face transformers writes one: python -c \"from transformers import "
         "AutoTokenizer; AutoTokenizer.from_pretrained('" +
         directory.string() + "').save_pretrained('" + directory.string() + "')\"";
}

/// A JSON file of the directory that need not be there.
class OptionalJson {
 public:
  explicit OptionalJson(const fs::path& path) : path_(path.string()) {
    if (is_there(path)) {
      json_ = read_json(path);
      require(json_->is_object(), path_, ": is not a JSON object");
    }
  }

  std::optional<Field> root() const {
    return json_ ? std::optional(Field(path_, *json_)) : std::nullopt;
  }
  std::optional<Field> find(std::string_view name) const {
    return json_ ? root()->find(name) : std::nullopt;
  }

 private:
  std::string path_;
  std::optional<nlohmann::json> json_;
};

/// Files of a directory that say of its tokenizer what tokenizer.json may not.
struct Settings {
  explicit Settings(const fs::path& directory)
      : tokenizer(directory / "tokenizer_config.json"),
        special(directory / "special_tokens_map.json"),
        added(directory / "added_tokens.json"),
        model(directory / "config.json") {}

  OptionalJson tokenizer;
  OptionalJson special;
  OptionalJson added;
  OptionalJson model;
};

/// A token as these files write it: a string, or an object with `content`.
std::string content_of(const Field& token) {
  return token.value().is_string() ? token.string() : token.at("content").string();
}

/// Fields that name a token, or a list of them.
constexpr const char* kTokenFields[] = {
    "bos_token",           "eos_token", "unk_token",  "sep_token",
    "pad_token",           "cls_token", "mask_token", "additional_special_tokens",
    "extra_special_tokens"};

/// The tokens that the field names.
std::vector<Field> tokens_of(const Field& field) {
  if (field.value().is_array()) {
    return field.elements();
  }
  if (field.value().is_object() && !field.value().contains("content")) {  // names and tokens
    std::vector<Field> tokens;
    for (const auto& [name, unused] : field.value().items()) {
      tokens.push_back(field.at(name));
    }
    return tokens;
  }
  return {field};
}

bool flag(const Field& token, std::string_view name, bool otherwise) {
  const auto found = token.value().is_object() ? token.find(name) : std::nullopt;
  return found ? found->boolean() : otherwise;
}

AddedToken added_token(const Field& token, int64_t id, bool special) {
  special = flag(token, "special", special);
  return {.content = content_of(token),
          .pattern = {},
          .id = id,
          .single_word = flag(token, "single_word", false),
          .lstrip = flag(token, "lstrip", false),
          .rstrip = flag(token, "rstrip", false),
          .normalized = flag(token, "normalized", !special),
          .special = special};
}

int64_t id_of_key(const Field& list, const std::string& key) {
  const bool digits =
      !key.empty() && key.size() <= 10 &&
      std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
  list.require(digits, "\"", key, "\" is no id of a token");
  return std::stoll(key);
}

/// The tokens that have a name (bos_token, ...) in one of the files.
std::set<std::string> named_tokens(const Settings& settings) {
  std::set<std::string> named;
  for (const auto* file : {&settings.tokenizer, &settings.special}) {
    for (const auto* name : kTokenFields) {
      if (const auto field = file->find(name)) {
        for (const auto& token : tokens_of(*field)) {
          named.insert(content_of(token));
        }
      }
    }
  }
  return named;
}

/// Adds what tokenizer_config.json lists with ids, or added_tokens.json where it lists none: that
/// knows ids alone, so what is said elsewhere of its tokens stays.
void add_listed_tokens(const Settings& settings, Definition& definition) {
  if (const auto list = settings.tokenizer.find("added_tokens_decoder")) {
    list->require(list->value().is_object(), "must be an object of ids and tokens");
    std::map<int64_t, Field> tokens;
    for (const auto& [key, unused] : list->value().items()) {
      tokens.emplace(id_of_key(*list, key), list->at(key));
    }
    for (const auto& [id, token] : tokens) {
      definition.add_token(token, added_token(token, id, false));
    }
  } else if (const auto ids = settings.added.root()) {
    std::map<int64_t, std::string> tokens;
    for (const auto& [content, unused] : ids->value().items()) {
      tokens.emplace(ids->at(content).id(), content);
    }
    const auto named = named_tokens(settings);
    for (const auto& [id, content] : tokens) {
      const bool special = named.contains(content);
      const auto* known = definition.added(content);
      auto token =
          known != nullptr
              ? *known
              : AddedToken{
                    .content = content, .pattern = {}, .normalized = !special, .special = special};
      token.id = id;
      definition.add_token(ids->at(content), std::move(token));
    }
  }
}

/// Adds tokens with a name (bos_token, ...) that the vocabulary has: written in a text, they are
/// tokens. One that it lacks gets no id here: the model would have no row for it.
void add_named_tokens(const OptionalJson& file, Definition& definition) {
  for (const auto* name : kTokenFields) {
    if (const auto field = file.find(name)) {
      for (const auto& token : tokens_of(*field)) {
        const auto content = content_of(token);
        const auto known = definition.vocabulary.find(content);
        if (known != definition.vocabulary.end() && definition.added(content) == nullptr) {
          definition.add_token(token, added_token(token, known->second, true));
        }
      }
    }
  }
}

std::optional<int64_t> bos_of(const Settings& settings, const Definition& definition) {
  for (const auto* file : {&settings.tokenizer, &settings.special}) {
    if (const auto token = file->find("bos_token")) {
      return definition.id(content_of(*token));
    }
  }
  return {};
}

/// tokenizer_config.json's word on the token that goes first outweighs the post-processor's.
void follow_add_bos(const Settings& settings, Definition& definition) {
  const auto add = settings.tokenizer.find("add_bos_token");
  if (!add) {
    return;
  }
  if (!add->boolean()) {
    definition.usual_prefix.clear();
  } else if (definition.usual_prefix.empty()) {
    if (const auto bos = bos_of(settings, definition)) {
      definition.usual_prefix = {*bos};
    }
  }
}

/// The class of Hugging Face's that reads a directory's tokenizer, without "Fast".
std::string class_of(const Settings& settings) {
  std::string name;
  if (const auto named = settings.tokenizer.find("tokenizer_class")) {
    name = named->string();
  } else if (const auto type = settings.model.find("model_type")) {
    name = type->string().starts_with("qwen") ? "Qwen2Tokenizer"
           : type->string() == "gpt2"         ? "GPT2Tokenizer"
                                              : "";
  }
  return name.ends_with("Fast") ? name.substr(0, name.size() - 4) : name;
}

/// tokenizer_config.json's word on a space before a text outweighs tokenizer.json's, where Hugging
/// Face's class makes a pre-tokenizer of its own.
void follow_add_prefix_space(const Settings& settings, Definition& definition) {
  const auto add = settings.tokenizer.find("add_prefix_space");
  if (!add || !definition.pre_tokenizer.byte_level) {
    return;
  }
  const auto name = class_of(settings);
  const bool is_qwen2 = name == "Qwen2Tokenizer";
  if (is_qwen2 || name == "GPT2Tokenizer" || name == "GPTNeoXTokenizer") {
    definition.pre_tokenizer.set_prefix_space(add->boolean(), /*of_pieces=*/is_qwen2);
  }
}

/// Throws Error for what a setting asks for and is not done here.
void refuse_unsupported(const Settings& settings) {
  const auto split = settings.tokenizer.find("split_special_tokens");
  if (split && split->boolean()) {
    split->fail("true is not supported: special tokens in a text are recognised here; take the ",
                "field out where that is meant");
  }
}

/// Reads vocab.json and merges.txt, cut as the directory's class does; GPT-2's where nothing names
/// one.
Definition read_two_files(const fs::path& directory, const Settings& settings) {
  const auto name = class_of(settings);
  const auto prefix = settings.tokenizer.find("add_prefix_space");
  const bool prefix_space = prefix && prefix->boolean();
  const bool is_gpt2 = name.empty() || name == "GPT2Tokenizer";
  require(is_gpt2 || name == "Qwen2Tokenizer", directory.string(),
          ": has vocab.json and merges.txt, but no tokenizer.json; how ", name,
          " cuts a text is not known here, GPT2Tokenizer and Qwen2Tokenizer are",
          command(directory));
  auto definition = read_vocabulary_and_merges(
      directory / "vocab.json", directory / "merges.txt",
      is_gpt2 ? PreTokenizer::gpt2(prefix_space) : PreTokenizer::qwen2(prefix_space));
  if (!is_gpt2) {
    definition.normalizer = Normalizer::nfc();
  }
  const std::string end = "<|endoftext|>";  // both classes' own
  if (const auto known = definition.vocabulary.find(end); known != definition.vocabulary.end()) {
    const nlohmann::json none;
    definition.add_token(Field(directory.string(), none),
                         {.content = end, .pattern = {}, .id = known->second, .special = true});
  }
  return definition;
}

}  // namespace

Definition read_tokenizer_directory(const std::filesystem::path& directory) {
  std::error_code ignored;
  require(fs::is_directory(directory, ignored), directory.string(), ": is not a directory");
  const Settings settings(directory);
  refuse_unsupported(settings);
  Definition definition;
  if (const auto json = directory / "tokenizer.json"; is_there(json)) {
    definition = read_tokenizer_json(json);
    follow_add_prefix_space(settings, definition);
  } else if (is_there(directory / "vocab.json") && is_there(directory / "merges.txt")) {
    definition = read_two_files(directory, settings);
  } else {
    require(!is_there(directory / "tokenizer.model"), directory.string(),
            ": has tokenizer.model, but no tokenizer.json", command(directory));
    fail(directory.string(), ": has no tokenizer.json, nor both vocab.json and merges.txt");
  }
  add_listed_tokens(settings, definition);
  add_named_tokens(settings.tokenizer, definition);
  add_named_tokens(settings.special, definition);
  follow_add_bos(settings, definition);
  definition.finish_added_tokens(directory.string());
  return definition;
}

}  // namespace motet::text
