#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "motet/eval/heads_run.h"
#include "motet/report/picture.h"

namespace motet {

/// The `run.json` of motet-heads: `rows` over all segments, `segment_rows`, and what full attention
/// says of the same tokens as `full` and `segment_full`.
nlohmann::ordered_json json_of(const HeadsRun& run);

/// Writes `run.json`, whole or not at all. Throws Error.
void save_run(const HeadsRun& run, const std::filesystem::path& path);

/// Reads what `save_run` wrote. Throws Error for a file that is damaged, of another schema or of
/// another program.
HeadsRun load_heads_run(const std::filesystem::path& path);

/// The run's rows as a table of plain text, one line a row, with its units below.
std::string table_of(const HeadsRun& run);

/// The same columns of one or more runs, as `markdown_of` of runs of motet-compare has them.
std::string markdown_of(const std::vector<HeadsRun>& runs);
/// As markdown_of, in LaTeX with the package booktabs.
std::string latex_of(const std::vector<HeadsRun>& runs);
/// Every figure of every row that is a single value, in full precision.
std::string csv_of(const std::vector<HeadsRun>& runs);

/// Loss against the share of local decisions (the paper's figure); how often each head is long;
/// confusion with the oracle; the estimate against the truth; how Gaussian scores are; local
/// decisions by layer; and where the entropy of parallel reading rises. Maps are of the middle one
/// of the run's tau. Throws Error for a run without rows.
std::vector<Picture> pictures_of(const HeadsRun& run);

/// One self-contained page with the pictures and the table: no network, no script.
std::string html_of(const HeadsRun& run);

}  // namespace motet
