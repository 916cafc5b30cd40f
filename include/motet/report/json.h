#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "motet/eval/compare_run.h"

namespace motet {

/// The document `run.json`: fields are named as in CompareRun, Provenance, CompareOptions
/// (`configuration`) and CompareRow (`rows`, `segment_rows`); null where a figure cannot be had.
nlohmann::ordered_json json_of(const CompareRun& run);

/// Writes `run.json`, whole or not at all. Throws Error.
void save_run(const CompareRun& run, const std::filesystem::path& path);

/// The program whose `run.json` this is: motet-compare or motet-heads. Throws Error for a file that
/// is not a run.
std::string program_of(const std::filesystem::path& path);

/// Reads what `save_run` wrote. Throws Error for a file that is damaged, of another schema or of
/// another program.
CompareRun load_run(const std::filesystem::path& path);

}  // namespace motet
