#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "motet/eval/run.h"
#include "motet/report/picture.h"
#include "report/svg.h"

/// What pictures of runs share: runs as they are shown, panels, axes, legends.
namespace motet::report {

constexpr double kWidth = 1160;  // of a picture, pixels
constexpr std::string_view kGrid = "#d9d9d9";

/// One way of reading, at every degree that the run has.
struct Series {
  std::string label;
  std::vector<const CompareRow*> rows;  // rising in P
};

/// A run as pictures take it. Series point into rows: not to be copied.
struct Shown {
  const Run* run;
  std::string title;
  std::vector<CompareRow> rows;
  std::vector<Series> series;        // `full` first, where there is one
  const CompareRow* full = nullptr;  // null where it was left out
};

/// Throws Error for a run without rows.
Shown shown(const Run& run);

/// A mode looks the same in every picture and run.
class Styles {
 public:
  explicit Styles(const std::vector<Shown>& runs);
  svg::Style of(const std::string& label) const;

 private:
  std::vector<std::string> labels_;
};

struct Range {
  double low = INFINITY, high = -INFINITY;
  void add(double value);
};

/// A rectangle with axes: values to pixels.
struct Panel {
  svg::Point corner;
  double width, height;
  Range x, y;

  svg::Point at(double px, double py) const {
    return {corner.x + width * (px - x.low) / (x.high - x.low),
            corner.y + height * (1 - (py - y.low) / (y.high - y.low))};
  }
  double bottom() const { return corner.y + height; }
};

/// "0.25", "12000", "1.2e+05".
std::string number(double value);

void draw_y_axis(svg::Drawing& drawing, const Panel& panel, const std::string& title,
                 int count = 5);
/// Ticks and numbers below, and the axis' name.
void draw_x_axis(svg::Drawing& drawing, const Panel& panel, const std::string& title,
                 int count = 8);
/// The same for layers, which are whole numbers.
void draw_layer_axis(svg::Drawing& drawing, const Panel& panel);
/// Labels with their marks, in lines; returns where what comes below begins.
double draw_legend(svg::Drawing& drawing, svg::Point at, const std::vector<std::string>& labels,
                   const Styles& styles);
/// A line for each run above its panels, where there are several; returns what draw_legend does.
double draw_title(svg::Drawing& drawing, double y, const Shown& run, std::size_t runs);
/// The colors of a map, upwards.
void draw_scale(svg::Drawing& drawing, svg::Point corner, double height, const Range& range,
                const std::function<std::string(double)>& color);

/// Every label of the runs once.
std::vector<std::string> labels_of(const std::vector<Shown>& runs);
/// The last row of each series: the one with the most pieces.
std::vector<const CompareRow*> most_pieces(const Shown& run);

/// Of runs that were made with `diagnose`; no picture where none was. PCE's diagnosis by place in
/// the piece.
std::vector<Picture> diagnosis_pictures(const std::vector<Shown>& runs, const Styles& styles);
/// Attention itself, of the rows that runs kept; no picture where none did.
std::vector<Picture> attention_pictures(const std::vector<Shown>& runs);

}  // namespace motet::report
