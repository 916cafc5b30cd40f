#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "motet/eval/tasks.h"
#include "program.h"

/// The command line of motet-eval.
namespace program {

struct EvalOptions : Options {
  std::vector<std::string> tasks;
  std::optional<int64_t> items, outputs, select;
  int64_t length = 2048;
  std::string layout = "pce";
  std::vector<std::string> pieces{"1", "4", "16"};
  std::vector<std::string> readings{"select"};
  std::string prefix = "Answer the question at the end from these contexts:\\n\\n";
  std::string positions = "spread";
  std::string truncate;
  bool bos = false, full_length = false, chat = false, show_prompt = false;
  std::optional<std::string> system;
  std::vector<std::string> also;
  AblationOptions ablation;
};

void add_eval_options(CLI::App& app, EvalOptions& options);

/// Throws UsageError for numbers that cannot be meant.
void check(const EvalOptions& options);

/// How items are read. Throws UsageError.
motet::TasksOptions tasks_options(const EvalOptions& options, const motet::Config& config,
                                  const motet::Tokenizer& tokenizer);

}  // namespace program
