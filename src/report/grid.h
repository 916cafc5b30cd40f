#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

/// A table of figures, and the formats that it is wanted in.
namespace motet::report {

struct Grid {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  std::size_t words = 1;  ///< columns with words, at the left; the others are numbers
};

/// The rows of one or more tables of the same columns, behind a column with the names of the runs
/// that they are of where there are several.
Grid joined(const std::vector<Grid>& grids, const std::vector<std::string>& runs);

/// Columns of these widths, the first one aligned to the left.
std::string text_of(const Grid& grid, const std::vector<std::size_t>& widths);
std::string markdown_of(const Grid& grid);
/// Wants the package booktabs.
std::string latex_of(const Grid& grid);
std::string html_of(const Grid& grid);

/// The fields of every row of these `run.json` that are single values, in full precision, behind
/// the names of model and text.
std::string csv_of(const std::vector<nlohmann::ordered_json>& documents);

}  // namespace motet::report
