#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "motet/eval/compare_run.h"
#include "motet/report/picture.h"
#include "report/legend.h"
#include "report/panel.h"
#include "report/svg.h"

/// Runs of `compare` as they are shown, and their pictures.
namespace motet::report {

/// One way of reading, at every degree that the run has.
struct Series {
  std::string label;
  std::vector<const CompareRow*> rows;  // rising in P
};

/// A run as pictures take it. Series point into rows: not to be copied.
struct Shown {
  const CompareRun* run;
  std::string title;
  std::vector<CompareRow> rows;
  std::vector<Series> series;        // `full` first, where there is one
  const CompareRow* full = nullptr;  // null where it was left out
};

/// Throws Error for a run without rows.
Shown shown(const CompareRun& run);

/// A line for each run above its panels, where there are several; returns what draw_legend does.
double draw_title(svg::Drawing& drawing, double y, const Shown& run, std::size_t runs);
/// Every label of the runs once.
std::vector<std::string> labels_of(const std::vector<Shown>& runs);
/// The last row of each series: the one with the most pieces.
std::vector<const CompareRow*> most_pieces(const Shown& run);

/// Of runs that were made with `diagnose`; no picture where none was. PCE's diagnosis by place in
/// the piece.
std::vector<Picture> diagnosis_pictures(const std::vector<Shown>& runs, const Styles& styles);
/// How many keys compete with the best one; no picture where no run was asked for it.
std::vector<Picture> near_keys_pictures(const std::vector<Shown>& runs, const Styles& styles);
/// Attention itself, of the rows that runs kept; no picture where none did.
std::vector<Picture> attention_pictures(const std::vector<Shown>& runs);

/// Every degree of the runs once, rising.
std::vector<int64_t> degrees_of(const std::vector<Shown>& runs);
/// Where a degree stands on an axis: degrees side by side.
double place_of(const std::vector<int64_t>& degrees, int64_t degree);
/// The axis of degrees.
void draw_degrees(svg::Drawing& drawing, const Panel& panel, const std::vector<int64_t>& degrees);

Picture degree_picture(const std::vector<Shown>& runs, const Styles& styles);
Picture map_picture(const std::vector<Shown>& runs);
Picture parts_picture(const std::vector<Shown>& runs);
Picture mass_picture(const std::vector<Shown>& runs);
Picture text_picture(const std::vector<Shown>& runs, const Styles& styles);

}  // namespace motet::report
