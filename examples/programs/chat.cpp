#include "chat.h"

#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "motet/error.h"
#include "motet/files/json.h"
#include "motet/files/mapped.h"

namespace program {
namespace {

/// The chat templates of a model: of chat_template.jinja, or of tokenizer_config.json, one or
/// several with names.
std::vector<std::pair<std::filesystem::path, std::string>> chat_templates(
    const std::filesystem::path& model) {
  std::vector<std::pair<std::filesystem::path, std::string>> templates;
  if (const auto path = model / "chat_template.jinja"; std::filesystem::exists(path)) {
    templates.emplace_back(path, motet::read_file(path));
    return templates;  // it goes before the other
  }
  const auto path = model / "tokenizer_config.json";
  if (!std::filesystem::exists(path)) {
    return templates;
  }
  const auto json = motet::parse_json(motet::read_file(path), path.string());
  motet::require(json.is_object(), path.string(), ": is not a JSON object");
  const auto found = json.find("chat_template");
  if (found == json.end() || found->is_null()) {
    return templates;
  }
  auto all = found->is_array() ? *found : nlohmann::json::array({*found});
  for (const auto& one : all) {  // of several, Hugging Face takes this one
    if (one.is_object() && one.value("name", nlohmann::json()) == "default") {
      all = nlohmann::json::array({one});
      break;
    }
  }
  for (const auto& one : all) {
    const auto& text = one.is_object() && one.contains("template") ? one["template"] : one;
    motet::require(text.is_string(), path.string(), ": 'chat_template' is ", found->dump(),
                   "; a template or a list of templates is wanted");
    templates.emplace_back(path, text.get<std::string>());
  }
  return templates;
}

}  // namespace

Chat chat_of(const Options& options, const motet::Tokenizer& tokenizer,
             const std::optional<std::string>& system) {
  motet::require(
      tokenizer.id("<|im_start|>").has_value() && tokenizer.id("<|im_end|>").has_value(),
      "--chat: ", options.model.string(),
      " has no <|im_start|> and <|im_end|>: it is not a ChatML model; write its template into "
      "the texts");
  bool writes_system = false;
  for (const auto& [path, text] : chat_templates(options.model)) {
    motet::require(text.find("<|im_start|>") != std::string::npos, "--chat: the template of ",
                   path.string(), " is not ChatML; write it into the texts");
    writes_system = writes_system || text.find("system") != std::string::npos;
  }
  if (writes_system && !system) {
    note(options,
         "note: the model's chat template may put a system message first; --chat puts "
         "none unless --system gives one");
  }
  return {(system ? "<|im_start|>system\n" + unescaped(*system) + "<|im_end|>\n" : std::string()) +
              "<|im_start|>user\n",
          "<|im_end|>\n<|im_start|>assistant\n"};
}

motet::TaskRecord in_chat(motet::TaskRecord record, const Chat& chat) {
  record.lead = chat.before + record.lead;
  const auto last_break = record.query.rfind('\n');
  const bool asks = record.query.substr(0, last_break).find_first_not_of(" \n\t") !=
                    std::string::npos;  // something before the last line
  const auto cut = asks ? last_break : std::string::npos;
  const auto begun = cut == std::string::npos ? "" : record.query.substr(cut + 1);
  record.query = record.query.substr(0, cut) + chat.after + begun;
  record.space = record.space && !begun.empty();
  return record;
}

}  // namespace program
