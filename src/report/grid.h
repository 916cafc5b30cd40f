#pragma once

#include <string>
#include <vector>

/// A table of figures, and the formats that it is wanted in.
namespace motet::report {

struct Grid {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  std::size_t words = 1;  ///< columns with words, at the left; the others are numbers
};

/// Names, those that come more than once with their place behind them: "GPT-2, books (run 2)".
std::vector<std::string> told_apart(std::vector<std::string> names);

/// The rows of one or more tables of the same columns, behind a column with the names of the runs
/// that they are of where there are several.
Grid joined(const std::vector<Grid>& grids, const std::vector<std::string>& runs);

/// Plain text: columns as wide as their cells, the first one aligned to the left.
std::string text_of(const Grid& grid);
std::string markdown_of(const Grid& grid);
/// Wants the package booktabs.
std::string latex_of(const Grid& grid);
std::string html_of(const Grid& grid);

/// Comma-separated values of tables of the same columns, below one line with their names. Nothing
/// where there is no row.
std::string csv_of(const std::vector<Grid>& grids);

}  // namespace motet::report
