#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "motet/model/generate.h"
#include "program.h"

/// The command line of motet-generate.
namespace program {

struct GenerateOptions : Options {
  std::vector<std::filesystem::path> pieces;
  std::filesystem::path documents;
  std::string query, mode = "parallel", reading, positions = "spread";
  std::optional<std::string> prefix, system;
  std::optional<int64_t> select;
  std::optional<double> top_p;
  AblationOptions ablation;
  bool bos = false, chat = false, probe = false;
  motet::GenerateOptions generate;

  bool has_prefix() const { return mode == "sink" || mode == "both"; }
  bool selects() const { return reading.empty() && (mode == "selective" || mode == "both"); }
};

/// What one answer is made from.
struct Task {
  std::vector<std::string> units;  ///< texts that are tokenised each by itself
  std::string query;
  std::optional<std::string> prefix;
  std::string where = {};              ///< the line of a file, for messages
  std::optional<int64_t> degree = {};  ///< pieces that the units are dealt to; nothing: one each

  /// How many pieces there are: fewer than the degree, where there are fewer units.
  int64_t pieces() const {
    const auto most = static_cast<int64_t>(units.size());
    return std::min(degree.value_or(most), most);
  }
};

void add_generate_options(CLI::App& app, GenerateOptions& options);

/// What --pieces or --documents ask for. Throws Error naming the line.
std::vector<Task> tasks_of(const GenerateOptions& options);

/// Options that would change nothing are mistakes: throws UsageError.
void check(GenerateOptions& options, const std::vector<Task>& tasks);

}  // namespace program
