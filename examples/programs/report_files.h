#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "motet/eval/compare_run.h"
#include "motet/report/picture.h"

namespace program {

/// An SVG document as a PNG image, twice as large, for screens and papers. Throws Error.
std::string png_of(const std::string& svg);

/// Writes the page as `index.html`, and each picture as SVG and PNG into `pictures`. Returns the
/// page's path. Throws Error.
std::filesystem::path write_report(const std::vector<motet::Picture>& pictures,
                                   const std::string& page, const std::filesystem::path& directory);
/// Those of runs of motet-compare.
std::filesystem::path write_report(const std::vector<motet::CompareRun>& runs,
                                   const std::filesystem::path& directory);

}  // namespace program
