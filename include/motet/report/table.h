#pragma once

#include <string>
#include <vector>

#include "motet/eval/compare_run.h"

namespace motet {

/// The run's rows as a table of plain text, one line a row, with its units below.
std::string table_of(const CompareRun& run);

/// The same columns of one or more runs for a page or a paper; where there are several runs, with a
/// column that names them. LaTeX (latex_of) wants the package booktabs.
std::string markdown_of(const std::vector<CompareRun>& runs);
/// As markdown_of, in LaTeX.
std::string latex_of(const std::vector<CompareRun>& runs);
/// As markdown_of, in HTML.
std::string html_table_of(const std::vector<CompareRun>& runs);

/// Every figure of every row that is a single value, in full precision: the columns that `run.json`
/// has, behind the names of model and text.
std::string csv_of(const std::vector<CompareRun>& runs);

/// Layers and heads of one mode as a small picture in characters, for a terminal: entropy of each
/// head, of the mode with the most pieces beside `full`.
std::string heat_map_of(const CompareRun& run);

}  // namespace motet
