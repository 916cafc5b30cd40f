#include "eval_options.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "motet/eval/task.h"
#include "motet/model/generate.h"
#include "motet/reading/registry.h"
#include "motet/text/tokenizer.h"
#include "readings.h"

namespace program {
namespace {

int64_t degree_of(const std::string& text) {
  if (text == "units") {
    return motet::TasksOptions::kUnits;
  }
  int64_t degree = 0;
  const auto* end = text.data() + text.size();
  const auto [last, error] = std::from_chars(text.data(), end, degree);
  if (error != std::errc() || last != end || degree < 1) {
    throw UsageError(
        fmt::format("--pieces {}: a degree of at least 1, or `units`, is wanted", text));
  }
  return degree;
}

}  // namespace

void add_eval_options(CLI::App& app, EvalOptions& options) {
  auto* tasks = app.add_option("--tasks", options.tasks)->delimiter(',')->required();
  app.add_option("--items", options.items, "of each task; 50, unless given. May grow on --resume");
  app.add_option("--outputs", options.outputs,
                 "of them, so many with an output; the others have likelihoods alone. All, unless\n"
                 "given");
  app.add_option("--length", options.length,
                 "of generated items: tokens of prompt and output together")
      ->capture_default_str();
  app.add_option("--layout", options.layout,
                 "of prompts that are made: pce has the instruction behind the context, helmet\n"
                 "before it. Figures of the two are not to be compared")
      ->check(CLI::IsMember({"pce", "helmet"}))
      ->capture_default_str();
  app.add_option("--pieces", options.pieces,
                 "degrees P, to which units are dealt in order, or `units`: a unit a piece")
      ->delimiter(',')
      ->capture_default_str();
  app.add_option("--prefix", options.prefix,
                 "shared prefix of sink and both, of items that have none of their own; knows \\n")
      ->capture_default_str();
  app.add_flag("--bos", options.bos,
               "put the tokenizer's first token before everything, in every mode");
  auto* chat = app.add_flag(
      "--chat", options.chat,
      "each item is a user's message (ChatML models): its opening stands before everything, in\n"
      "every mode; what follows the query's last line break begins the answer");
  app.add_option("--system", options.system, "a system message before the user's; knows \\n")
      ->needs(chat);
  app.add_option(
      "--select", options.select,
      "pieces K that selective and both keep, for heads and rows of a call together, and\n"
      "asks for these modes; 2");
  auto* readings =
      app.add_option("--readings", options.readings)->delimiter(',')->capture_default_str();
  options.describe = [tasks, readings] {
    tasks->description(wrapped("tasks, of " + motet::task_usages()));
    readings->description(wrapped("readings beside `all`, each without and with the prefix, of " +
                                  motet::reading_usages()));
  };
  app.add_option("--positions", options.positions, "of the pieces' tokens")
      ->check(CLI::IsMember({"spread", "left", "right", "sequential"}))
      ->capture_default_str();
  app.add_flag("--full-length", options.full_length,
               "outputs have all of their tokens, as in PCE: nothing ends them");
  app.add_option("--truncate", options.truncate,
                 "units: leave out whole units, from the one that is farthest from the query on,\n"
                 "of items longer than the model's positions")
      ->check(CLI::IsMember({"units"}));
  app.add_option("--also", options.also,
                 "ruler, helmet: beside run.json, files for their scorers, a directory a mode")
      ->delimiter(',')
      ->check(CLI::IsMember({"ruler", "helmet"}));
  app.add_flag("--show-prompt", options.show_prompt,
               "print the first item of each task as it would be read, and end");
  add_ablation_options(app, options.ablation);
  add_config_option(app, options);
  add_options(app, options);
}

void check(const EvalOptions& options) {
  if (!options.also.empty() && options.out.empty()) {
    throw UsageError("--also writes beside run.json: --out DIR says where");
  }
  for (const auto& [value, name] :
       {std::pair{options.items, "items"}, {options.outputs, "outputs"}}) {
    if (value && *value < (std::string_view(name) == "items" ? 1 : 0)) {
      throw UsageError(fmt::format("--{} {}: a number of items is wanted", name, *value));
    }
  }
  if (options.length < 1) {
    throw UsageError(fmt::format("--length {}: a number of tokens is wanted", options.length));
  }
}

motet::TasksOptions tasks_options(const EvalOptions& options, const motet::Config& config,
                                  const motet::Tokenizer& tokenizer) {
  motet::TasksOptions tasks;
  tasks.pieces.clear();
  for (const auto& degree : options.pieces) {
    tasks.pieces.push_back(degree_of(degree));
  }
  tasks.prefix = tokenizer.encode(unescaped(options.prefix)).ids;
  tasks.select = options.select.value_or(tasks.select);
  tasks.readings = readings_of(options.readings, options.select);
  tasks.positions = motet::positions_named(options.positions);
  if (options.bos) {
    tasks.bos = bos_of(options.model, config, tokenizer);
  }
  tasks.full_length = options.full_length;
  if (!options.full_length) {
    tasks.end = motet::end_tokens(options.model);
    const auto end = tokenizer.id("<|im_end|>");
    if (options.chat && end &&
        std::find(tasks.end.begin(), tasks.end.end(), *end) == tasks.end.end()) {
      tasks.end.push_back(*end);
    }
  }
  tasks.truncate = !options.truncate.empty();
  tasks.ablation = options.ablation.ablation();
  check_options(options, [&] { tasks.validate(); });
  return tasks;
}

}  // namespace program
