#include "tokenizer_files.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "byte_level.h"
#include "json_field.h"
#include "motet/files/mapped.h"
#include "unicode.h"

namespace motet::text {
namespace {

// https://github.com/openai/gpt-2/blob/master/src/encoder.py
constexpr std::string_view kGpt2Pattern =
    R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr std::string_view kGpt2EndOfText = "<|endoftext|>";

/// The component's type. Throws Error unless it is one of `supported`.
std::string type_of(const Field& component, std::initializer_list<std::string_view> supported) {
  const auto type = component.at("type").string();
  if (std::find(supported.begin(), supported.end(), type) == supported.end()) {
    std::string names;
    for (const auto name : supported) {
      names += (names.empty() ? "" : ", ") + std::string(name);
    }
    component.fail("type \"", type, "\" is not supported; supported: ", names);
  }
  return type;
}

void read_vocabulary(const Field& field, Definition& definition) {
  field.require(field.value().is_object(), "must be an object");
  const auto size = field.value().size();
  definition.vocabulary.reserve(size);
  std::unordered_map<int64_t, std::string> tokens;
  tokens.reserve(size);
  for (const auto& [token, unused] : field.value().items()) {
    const auto id = field.at(token).id();
    const auto [same, is_new] = tokens.emplace(id, token);
    field.require(is_new, "\"", same->second, "\" and \"", token, "\" have the same id, ", id);
    definition.vocabulary.emplace(token, id);
  }
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto found = definition.vocabulary.find(byte_symbols()[byte]);
    if (found != definition.vocabulary.end()) {
      definition.bpe.byte_ids[byte] = found->second;
    }
  }
}

/// Adds the merge of two tokens. Returns the first token that is not in the vocabulary, if one is
/// not.
std::optional<std::string> add_merge(std::string_view left, std::string_view right, int64_t rank,
                                     Definition& definition) {
  std::array<int64_t, 3> ids;
  const std::array<std::string, 3> tokens{std::string(left), std::string(right),
                                          std::string(left) + std::string(right)};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto found = definition.vocabulary.find(tokens[i]);
    if (found == definition.vocabulary.end()) {
      return tokens[i];
    }
    ids[i] = found->second;
  }
  definition.bpe.add_merge(ids[0], ids[1], rank, ids[2]);
  return std::nullopt;
}

/// The two tokens of a line such as "Ġ t"; nothing when the line is not two tokens.
std::optional<std::pair<std::string_view, std::string_view>> split_merge(std::string_view line) {
  const auto space = line.find(' ');
  if (space == std::string_view::npos || line.find(' ', space + 1) != std::string_view::npos) {
    return std::nullopt;
  }
  return std::pair(line.substr(0, space), line.substr(space + 1));
}

bool is_version_line(std::string_view line) { return line.starts_with("#version"); }

void read_merges(const Field& field, Definition& definition) {
  field.require(field.value().is_array(), "must be an array");
  for (std::size_t i = 0; i < field.value().size(); ++i) {
    const auto& merge = field.value()[i];
    std::optional<std::pair<std::string_view, std::string_view>> pair;
    if (merge.is_string()) {
      const std::string_view line = merge.get_ref<const std::string&>();
      if (is_version_line(line)) {
        continue;
      }
      pair = split_merge(line);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      pair.emplace(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
    }
    if (!pair) {
      field.element(i).fail("must be two tokens, as \"a b\" or [\"a\", \"b\"], not ", merge.dump());
    }
    if (const auto unknown =
            add_merge(pair->first, pair->second, static_cast<int64_t>(i), definition)) {
      field.element(i).fail("token \"", *unknown, "\" is not in the vocabulary");
    }
  }
}

void read_model(const Field& model, Definition& definition) {
  if (model.find("type")) {  // old files have none
    type_of(model, {"BPE"});
  }
  if (const auto dropout = model.find("dropout")) {
    dropout->require(dropout->value() == 0, "must be null or 0, not ", dropout->value().dump());
  }
  for (const auto* name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    if (const auto affix = model.find(name)) {
      affix->require(affix->string().empty(), "must be null or empty, not ", affix->value().dump());
    }
  }
  const auto is_true = [&](std::string_view name) {
    const auto flag = model.find(name);
    return flag && flag->boolean();
  };
  if (is_true("byte_fallback")) {
    model.at("byte_fallback").fail("true is not supported");
  }
  read_vocabulary(model.at("vocab"), definition);
  read_merges(model.at("merges"), definition);
  auto& bpe = definition.bpe;
  bpe.fuse_unknown = is_true("fuse_unk");
  if (const auto unknown = model.find("unk_token")) {
    const auto found = definition.vocabulary.find(unknown->string());
    unknown->require(found != definition.vocabulary.end(), "token \"", unknown->string(),
                     "\" is not in the vocabulary");
    bpe.unknown = found->second;
  }
  if (is_true("ignore_merges")) {
    for (const auto& [token, id] : definition.vocabulary) {
      if (auto bytes = bytes_from_symbols(token)) {
        bpe.whole_words.emplace(std::move(*bytes), id);
      }
    }
  }
}

void read_normalizer(const Field& normalizer, Definition& definition) {
  if (type_of(normalizer, {"Sequence", "NFC"}) == "NFC") {
    definition.nfc = true;
    return;
  }
  for (const auto& part : normalizer.at("normalizers").elements()) {
    read_normalizer(part, definition);
  }
}

Split read_split(const Field& split) {
  const auto behavior = split.at("behavior");
  const bool removed = behavior.string() == "Removed";
  behavior.require(removed || behavior.string() == "Isolated", behavior.value().dump(),
                   " is not supported; supported: Isolated, Removed");
  const auto invert = split.at("invert");
  invert.require(!invert.boolean(), "true is not supported");
  const auto pattern = split.at("pattern");
  const auto text = pattern.find("String");
  const auto regex = text ? text : pattern.find("Regex");
  pattern.require(regex.has_value(), "must have \"String\" or \"Regex\"");
  try {
    return {Pattern(text ? literal(text->string()) : from_oniguruma(regex->string())), !removed};
  } catch (const Error& error) {
    regex->fail(error.what());
  }
}

/// Appends the stages of `part`; returns whether ByteLevel was among them.
bool read_pre_tokenizer(const Field& part, std::vector<Stage>& stages) {
  const auto type = type_of(part, {"Sequence", "Split", "Digits", "ByteLevel"});
  bool byte_level = false;
  if (type == "Sequence") {
    for (const auto& inner : part.at("pretokenizers").elements()) {
      // What follows would see the stand-ins of the bytes, not the text.
      inner.require(!byte_level, "nothing may follow ByteLevel");
      byte_level = read_pre_tokenizer(inner, stages);
    }
  } else if (type == "Split") {
    stages.push_back(read_split(part));
  } else if (type == "Digits") {
    const bool individual = part.at("individual_digits").boolean();
    stages.push_back(Split{Pattern(individual ? "\\p{N}" : "\\p{N}+")});
  } else {
    byte_level = true;
    if (part.at("add_prefix_space").boolean()) {
      stages.push_back(PrefixSpace{});
    }
    const auto use_regex = part.find("use_regex");
    if (!use_regex || use_regex->boolean()) {
      stages.push_back(Split{Pattern(from_oniguruma(kGpt2Pattern))});
    }
  }
  return byte_level;
}

void check_decoder(const Field& decoder) {
  if (type_of(decoder, {"Sequence", "ByteLevel"}) == "Sequence") {
    for (const auto& part : decoder.at("decoders").elements()) {
      check_decoder(part);
    }
  }
}

void read_post_processor(const Field& processor, std::vector<int64_t>& prefix) {
  const auto type = type_of(processor, {"Sequence", "ByteLevel", "TemplateProcessing"});
  if (type == "Sequence") {
    for (const auto& part : processor.at("processors").elements()) {
      read_post_processor(part, prefix);
    }
  } else if (type == "TemplateProcessing") {
    std::vector<int64_t> before;
    for (const auto& piece : processor.at("single").elements()) {
      const auto special = piece.find("SpecialToken");
      if (!special) {
        break;  // the text itself
      }
      const auto token = processor.at("special_tokens").at(special->at("id").string());
      for (const auto& id : token.at("ids").elements()) {
        before.push_back(id.id());
      }
    }
    prefix.insert(prefix.begin(), before.begin(), before.end());  // each wraps the one before
  }
}

void read_added_tokens(const Field& list, Definition& definition) {
  std::map<int64_t, AddedToken> by_id;
  std::unordered_map<std::string, int64_t> ids;
  auto next = static_cast<int64_t>(definition.vocabulary.size());
  for (const auto& field : list.elements()) {
    AddedToken token{.content = field.at("content").string(),
                     .pattern = {},
                     .id = field.at("id").id(),
                     .single_word = field.at("single_word").boolean(),
                     .lstrip = field.at("lstrip").boolean(),
                     .rstrip = field.at("rstrip").boolean(),
                     .normalized = field.at("normalized").boolean()};
    if (token.content.empty()) {
      continue;
    }
    // Hugging Face takes the vocabulary's id, or else the next free one, and only warns of another.
    auto known = ids.find(token.content);
    if (known == ids.end()) {
      const auto found = definition.vocabulary.find(token.content);
      known =
          ids.emplace(token.content, found != definition.vocabulary.end() ? found->second : next++)
              .first;
    }
    field.require(token.id == known->second, "\"", token.content, "\" has id ", token.id,
                  ", but Hugging Face gives it ", known->second);
    token.pattern = token.normalized && definition.nfc ? nfc(token.content) : token.content;
    by_id.insert_or_assign(token.id, std::move(token));
  }
  std::set<std::pair<bool, std::string>> patterns;
  for (auto& [id, token] : by_id) {
    list.require(patterns.emplace(token.normalized, token.pattern).second, "two tokens are \"",
                 token.pattern, "\" when normalised");
    definition.added_tokens.push_back(std::move(token));
  }
}

}  // namespace

Definition read_tokenizer_json(const std::filesystem::path& path) {
  const auto json = read_json(path);
  const Field root(path.string(), json);
  if (const auto version = root.find("version")) {
    version->require(version->string() == "1.0", "must be \"1.0\", not ", version->value().dump());
  }
  Definition definition;
  read_model(root.at("model"), definition);
  if (const auto normalizer = root.find("normalizer")) {
    read_normalizer(*normalizer, definition);
  }
  const auto pre_tokenizer = root.at("pre_tokenizer");
  pre_tokenizer.require(read_pre_tokenizer(pre_tokenizer, definition.stages),
                        "has no ByteLevel; only byte-level BPE is supported");
  if (const auto decoder = root.find("decoder")) {
    check_decoder(*decoder);
  }
  if (const auto processor = root.find("post_processor")) {
    read_post_processor(*processor, definition.usual_prefix);
  }
  if (const auto added = root.find("added_tokens")) {
    read_added_tokens(*added, definition);
  }
  return definition;
}

Definition read_gpt2_files(const std::filesystem::path& vocabulary,
                           const std::filesystem::path& merges) {
  Definition definition;
  const auto json = read_json(vocabulary);
  read_vocabulary(Field(vocabulary.string(), json), definition);

  const auto text = read_file(merges);
  int64_t line_number = 0;
  for (std::string_view rest = text; !rest.empty();) {
    auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    ++line_number;
    if (is_version_line(line)) {
      continue;
    }
    const auto pair = split_merge(line);
    require(pair.has_value(), merges.string(), ": line ", line_number,
            ": must be two tokens with a space between, not \"", line, "\"");
    const auto unknown = add_merge(pair->first, pair->second, line_number, definition);
    require(!unknown, merges.string(), ": line ", line_number, ": token \"", unknown.value_or(""),
            "\" is not in the vocabulary");
  }

  definition.stages.push_back(Split{Pattern(from_oniguruma(kGpt2Pattern))});
  const std::string end(kGpt2EndOfText);
  if (const auto found = definition.vocabulary.find(end); found != definition.vocabulary.end()) {
    definition.added_tokens.push_back({.content = end, .pattern = end, .id = found->second});
  }
  return definition;
}

}  // namespace motet::text
