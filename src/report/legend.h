#pragma once

#include <string>
#include <vector>

#include "report/svg.h"

/// Which mode a line or a mark is of.
namespace motet::report {

/// A mode looks the same in every picture and run.
class Styles {
 public:
  explicit Styles(const std::vector<std::string>& labels);
  svg::Style of(const std::string& label) const;

 private:
  std::vector<std::string> labels_;
};

/// Labels with their marks, in lines; returns where what comes below begins.
double draw_legend(svg::Drawing& drawing, svg::Point at, const std::vector<std::string>& labels,
                   const Styles& styles);

}  // namespace motet::report
