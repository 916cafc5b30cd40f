#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "byte_level.h"
#include "definition.h"
#include "motet/files/mapped.h"

namespace motet::text {
namespace {

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
  definition.bpe.reserve_merges(field.value().size());
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
    if (const auto unknown = definition.bpe.add_merge(
            pair->first, pair->second, static_cast<int64_t>(i), definition.vocabulary)) {
      field.element(i).fail("token \"", *unknown, "\" is not in the vocabulary");
    }
  }
}

/// Throws Error where Hugging Face would take a byte apart: its stand-in has no token, but the
/// bytes of that character do.
void refuse_fallback_of_stand_ins(const Field& model, const Bpe::Vocabulary& vocabulary) {
  for (const auto& symbol : byte_symbols()) {
    const bool has_bytes = std::all_of(symbol.begin(), symbol.end(), [&](char byte) {
      return vocabulary.contains(name_of_byte(static_cast<std::uint8_t>(byte)));
    });
    model.at("byte_fallback")
        .require(vocabulary.contains(symbol) || !has_bytes, "true with ByteLevel, in a vocabulary ",
                 "that lacks the stand-in \"", symbol, "\" of a byte, is not supported");
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
  auto& bpe = definition.bpe;
  bpe.byte_level = definition.pre_tokenizer.byte_level;
  bpe.byte_fallback = is_true("byte_fallback");
  bpe.ignore_merges = is_true("ignore_merges");
  bpe.fuse_unknown = is_true("fuse_unk");
  definition.read_vocabulary(model.at("vocab"));
  if (bpe.byte_level && bpe.byte_fallback) {
    refuse_fallback_of_stand_ins(model, definition.vocabulary);
  }
  read_merges(model.at("merges"), definition);
  if (const auto unknown = model.find("unk_token")) {
    bpe.unknown_token = unknown->string();
    const auto found = definition.vocabulary.find(bpe.unknown_token);
    if (found != definition.vocabulary.end()) {  // or else it is missed when it is wanted
      bpe.unknown = found->second;
    }
  }
  bpe.prepare(definition.vocabulary);
}

void read_post_processor(const Field& processor, std::vector<int64_t>& prefix) {
  const auto type = type_of(processor, {"Sequence", "ByteLevel", "TemplateProcessing",
                                        "RobertaProcessing", "BertProcessing"});
  if (type == "Sequence") {
    for (const auto& part : processor.at("processors").elements()) {
      read_post_processor(part, prefix);
    }
  } else if (type == "RobertaProcessing" || type == "BertProcessing") {
    prefix.insert(prefix.begin(), processor.at("cls").element(1).id());
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
  for (const auto& field : list.elements()) {
    const auto special = field.find("special");
    definition.add_token(field, {.content = field.at("content").string(),
                                 .pattern = {},
                                 .id = field.at("id").id(),
                                 .single_word = field.at("single_word").boolean(),
                                 .lstrip = field.at("lstrip").boolean(),
                                 .rstrip = field.at("rstrip").boolean(),
                                 .normalized = field.at("normalized").boolean(),
                                 .special = special && special->boolean()});
  }
}

}  // namespace

void Definition::read_vocabulary(const Field& field) {
  field.require(field.value().is_object(), "must be an object");
  const auto size = field.value().size();
  vocabulary.reserve(size);
  std::unordered_map<int64_t, std::string> tokens;
  tokens.reserve(size);
  for (const auto& [token, unused] : field.value().items()) {
    const auto id = field.at(token).id();
    const auto [same, is_new] = tokens.emplace(id, token);
    field.require(is_new, "\"", same->second, "\" and \"", token, "\" have the same id, ", id);
    vocabulary.emplace(token, id);
  }
}

void Definition::add_token(const Field& field, AddedToken token) {
  if (token.content.empty()) {
    return;
  }
  const auto same = added_at_.find(token.content);
  const auto known = vocabulary.find(token.content);
  const auto id = same != added_at_.end() ? added_tokens[same->second].id
                  : known != vocabulary.end()
                      ? known->second
                      : static_cast<int64_t>(vocabulary.size()) + added_beyond_;
  field.require(token.id == id, "\"", token.content, "\" has id ", token.id,
                ", but Hugging Face gives it ", id);
  if (same != added_at_.end()) {
    added_tokens[same->second] = std::move(token);
    return;
  }
  added_beyond_ += known == vocabulary.end() ? 1 : 0;
  added_at_.emplace(token.content, added_tokens.size());
  added_tokens.push_back(std::move(token));
}

const AddedToken* Definition::added(const std::string& content) const {
  const auto found = added_at_.find(content);
  return found == added_at_.end() ? nullptr : &added_tokens[found->second];
}

std::optional<int64_t> Definition::id(const std::string& content) const {
  if (const auto* token = added(content)) {
    return token->id;
  }
  const auto known = vocabulary.find(content);
  return known == vocabulary.end() ? std::nullopt : std::optional(known->second);
}

void Definition::finish_added_tokens(const std::string& where) {
  std::sort(added_tokens.begin(), added_tokens.end(),
            [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  std::map<std::pair<bool, std::string>, std::string> patterns;
  for (auto& token : added_tokens) {
    token.pattern = token.normalized ? normalizer.run(token.content) : token.content;
    const auto [first, is_new] =
        patterns.emplace(std::pair(token.normalized, token.pattern), token.content);
    require(token.pattern.empty() || is_new, where, ": added_tokens: \"", first->second,
            "\" and \"", token.content, "\" are both \"", token.pattern, "\" when normalised");
  }
}

Definition read_tokenizer_json(const std::filesystem::path& path) {
  const auto json = read_json(path);
  const Field root(path.string(), json);
  if (const auto version = root.find("version")) {
    version->require(version->string() == "1.0", "must be \"1.0\", not ", version->value().dump());
  }
  Definition definition;
  if (const auto normalizer = root.find("normalizer")) {
    definition.normalizer = Normalizer(*normalizer);
  }
  if (const auto pre_tokenizer = root.find("pre_tokenizer")) {
    definition.pre_tokenizer = PreTokenizer(*pre_tokenizer);
  }
  if (const auto decoder = root.find("decoder")) {
    definition.decoder = TokenDecoder(*decoder);
  }
  read_model(root.at("model"), definition);
  if (const auto processor = root.find("post_processor")) {
    read_post_processor(*processor, definition.usual_prefix);
  }
  if (const auto added = root.find("added_tokens")) {
    read_added_tokens(*added, definition);
  }
  return definition;
}

Definition read_vocabulary_and_merges(const std::filesystem::path& vocabulary,
                                      const std::filesystem::path& merges,
                                      PreTokenizer pre_tokenizer) {
  Definition definition;
  definition.pre_tokenizer = std::move(pre_tokenizer);
  definition.decoder = TokenDecoder::byte_level();
  const auto json = read_json(vocabulary);
  definition.read_vocabulary(Field(vocabulary.string(), json));

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
    const auto unknown =
        definition.bpe.add_merge(pair->first, pair->second, line_number, definition.vocabulary);
    require(!unknown, merges.string(), ": line ", line_number, ": token \"", unknown.value_or(""),
            "\" is not in the vocabulary");
  }
  definition.bpe.prepare(definition.vocabulary);
  return definition;
}

}  // namespace motet::text
