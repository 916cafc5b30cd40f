#include "generate_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "motet/files/json.h"
#include "motet/files/mapped.h"

namespace program {

void add_generate_options(CLI::App& app, GenerateOptions& options) {
  auto* pieces = app.add_option("--pieces", options.pieces, "UTF-8 files, a piece each");
  app.add_option(
         "--documents", options.documents,
         "lines of {\"pieces\": [...], \"query\": ..., \"prefix\": ...}, prefix at choice; or\n"
         "with \"units\": [...] and their number of pieces, \"pieces\": P, to which they are\n"
         "dealt in order, each unit tokenised by itself")
      ->excludes(pieces);
  app.add_option("--query", options.query,
                 "what comes after the pieces; knows \\n. With --documents: for lines without one");
  app.add_option("--mode", options.mode)
      ->check(CLI::IsMember({"full", "parallel", "sink", "selective", "both"}))
      ->capture_default_str();
  app.add_option("--reading", options.reading,
                 "another reading in place of the mode's, as motet-compare's --readings");
  app.add_option(
      "--prefix", options.prefix,
      "shared prefix, of sink and both; knows \\n. Lines of --documents may have their own");
  app.add_option("--select", options.select, "pieces K that a row of selective and both keeps; 2");
  app.add_option("--positions", options.positions, "of the pieces' tokens")
      ->check(CLI::IsMember({"spread", "left", "right", "sequential"}))
      ->capture_default_str();
  app.add_option("--tokens", options.generate.tokens, "at most")->capture_default_str();
  app.add_option("--temperature", options.generate.sampling.temperature,
                 "0: the most likely token, always")
      ->capture_default_str();
  app.add_option("--top-p", options.top_p,
                 "draws from the most likely tokens that have this probability together; 1");
  app.add_flag("--bos", options.bos, "put the tokenizer's first token before everything");
  auto* chat = app.add_flag("--chat", options.chat,
                            "the query is a user's message (ChatML models). The rest of a model's "
                            "template,\nsuch as a system message of its own, is left out");
  app.add_option("--system", options.system, "a system message before the user's; knows \\n")
      ->needs(chat);
  app.add_flag("--probe", options.probe,
               "a line a token: entropy, mass of own tokens, and the piece with the most");
  add_ablation_options(app, options.ablation);
  add_options(app, options);
  app.get_option("--out")->description(
      "directory for answers.jsonl; nothing is written without it");
  app.get_option("--overwrite")->description("replace the answers that --out holds");
  app.get_option("--resume")->description("go on with the answers that --out holds, if any");
}

std::vector<Task> tasks_of(const GenerateOptions& options) {
  std::vector<Task> tasks;
  if (!options.pieces.empty()) {
    if (options.query.empty()) {
      throw UsageError("--pieces needs --query TEXT");
    }
    Task task{{}, unescaped(options.query), {}, {}};
    for (const auto& path : options.pieces) {
      task.units.push_back(motet::read_file(path));
      motet::require(!task.units.back().empty(), path.string(), ": is empty");
    }
    return {task};
  }
  if (options.documents.empty()) {
    throw UsageError("give --pieces FILE... or --documents FILE.jsonl");
  }
  motet::for_each_json_line(options.documents, [&](const nlohmann::json& json,
                                                   const std::string& where) {
    const auto* const field = json.is_object() && json.contains("units") ? "units" : "pieces";
    motet::require(
        json.is_object() && json.contains(field) && json[field].is_array() && !json[field].empty(),
        where, ": a line is {\"pieces\": [texts], \"query\": text}");
    Task task;
    task.where = where;
    const std::string one = field == std::string("units") ? "unit" : "piece";
    for (const auto& text : json[field]) {
      motet::require(text.is_string() && !text.get<std::string>().empty(), where, ": a ", one,
                     " is a text that is not empty");
      task.units.push_back(text);
    }
    if (one == "unit" && json.contains("pieces")) {
      motet::require(json["pieces"].is_number_integer() && json["pieces"].get<int64_t>() >= 1,
                     where, ": 'pieces' is ", json["pieces"].dump(),
                     "; beside 'units' it is their number, at least 1");
      task.degree = json["pieces"];
    }
    const auto text_or = [&](const char* name, std::optional<std::string> otherwise) {
      if (!json.contains(name)) {
        return otherwise;
      }
      motet::require(json[name].is_string(), where, ": '", name, "' is a text");
      return std::optional(json[name].get<std::string>());
    };
    const auto query = text_or(
        "query", options.query.empty() ? std::nullopt : std::optional(unescaped(options.query)));
    motet::require(query && !query->empty(), where, ": has no query, nor has the command line");
    task.query = *query;
    task.prefix = text_or("prefix", {});
    tasks.push_back(std::move(task));
  });
  return tasks;
}

void check(GenerateOptions& options, const std::vector<Task>& tasks) {
  if (options.select && !options.selects()) {
    throw UsageError(options.reading.empty()
                         ? fmt::format("--select {}: --mode {} reads every piece; selective and "
                                       "both select",
                                       *options.select, options.mode)
                         : fmt::format("--select {}: --reading {} takes the place of what the mode "
                                       "selects; write --reading select:{}",
                                       *options.select, options.reading, *options.select));
  }
  if (options.mode == "full" && !options.reading.empty()) {
    throw UsageError(
        fmt::format("--reading {}: --mode full has one piece, and reads it all", options.reading));
  }
  if (options.prefix && !options.has_prefix()) {
    throw UsageError(fmt::format("--prefix: --mode {} has none; sink and both have", options.mode));
  }
  if (options.top_p && options.generate.sampling.temperature == 0) {
    throw UsageError(fmt::format(
        "--top-p {}: at --temperature 0 the most likely token is taken, always", *options.top_p));
  }
  options.generate.sampling.top_p = options.top_p.value_or(1);
  if (options.generate.tokens < 1) {
    throw UsageError(fmt::format("--tokens {}: at least 1 is wanted", options.generate.tokens));
  }
  if (options.selects()) {
    const auto kept = options.select.value_or(2);
    for (const auto& task : tasks) {
      if (kept < 1 || kept > task.pieces()) {
        throw UsageError(fmt::format("--select {}: {}there are {} pieces", kept,
                                     task.where.empty() ? "" : task.where + ": ", task.pieces()));
      }
    }
  }
  check_options(options, [&] { options.generate.sampling.validate(); });
  const auto left_out =
      std::count_if(tasks.begin(), tasks.end(), [](const Task& task) { return task.prefix; });
  if (left_out > 0 && !options.has_prefix() && !options.quiet) {
    fmt::print(stderr, "note: --mode {} leaves out the prefix of {} line{}\n", options.mode,
               left_out, left_out == 1 ? "" : "s");
  }
}

}  // namespace program
